"""How well do counts of rows, which need no labels, predict clicks?

    python -m benchmarks.row_counts --dataset=ml-100k --train_rows=1000

A baseline for pretraining that reads no labels, such as best/few-labels.yaml: it may learn how often each item and
user occurs. Two scores, as mean and standard deviation over the seeds:

  rows of the item        their number in the training part, with or without labels
  rows of item and user   a logistic regression on the logarithms of both numbers, fitted to --train_rows labels

Other --key=value arguments are settings of the data set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.probe import load_parts, spread
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import UserError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.row_counts``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.row_counts", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4], help="default: 2 3 4")
    options, rest = parser.parse_known_args(arguments)
    try:
        print(_table(options.seeds, parse_settings(rest)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _table(seeds: Sequence[int], settings: dict[str, Any]) -> str:
    from recbole_clickprompt.evaluation.tables import markdown_table

    found = zip(*(_aucs({**settings, "seed": seed}) for seed in seeds), strict=True)
    names = ("rows of the item", "rows of item and user")
    rows = [[name, str(len(seeds)), spread(values)] for name, values in zip(names, found, strict=True)]
    return markdown_table(["score of a row", "seeds", "test AUC"], rows)


def _aucs(settings: dict[str, Any]) -> tuple[float, float]:
    """Test AUC of the item's count, and of a logistic regression on the counts of item and user."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from recbole_clickprompt.trainer.sampling import sample

    config, parts = load_parts(settings)
    train, test = parts["train"], parts["test"]
    ids = [train.iid_field, train.uid_field]
    counts = [np.bincount(train.inter_feat[field].numpy(), minlength=train.num(field)) for field in ids]

    def features(part: Any) -> np.ndarray:
        """Logarithms of the numbers of rows of item and user, ``(rows, 2)``."""
        each = [np.log1p(of_id[part.inter_feat[field].numpy()]) for of_id, field in zip(counts, ids, strict=True)]
        return np.stack(each, axis=1)

    labeled = sample(config, train, "train_rows")
    regression = LogisticRegression().fit(features(labeled), labeled.inter_feat[train.label_field].numpy())
    labels, inputs = test.inter_feat[test.label_field].numpy(), features(test)
    return roc_auc_score(labels, inputs[:, 0]), roc_auc_score(labels, regression.decision_function(inputs))


if __name__ == "__main__":
    sys.exit(main())

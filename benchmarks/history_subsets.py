"""AUC of a grid of runs for known users, and for new users by their number of earlier clicks.

    python -m benchmarks.history_subsets results/history-ml-100k.csv --baseline="plain DCNv2"

A new user has no training row, so that the earlier clicks are validation and test rows. Reads the run folders
only: no data set, no model. Prints means over seeds, and how much higher each is than that of the baseline.

A second table has new users only: how much of a gain is their share of liked items, and not which items they were?
A logistic regression, fitted on validation rows, combines a run's score with the share of label 1 among the user's
earlier clicks. GAUC is the AUC within users, which differences between users cannot raise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from recbole_clickprompt.errors import DataError, UserError
from recbole_clickprompt.evaluation.long_tail import training_rows_of
from recbole_clickprompt.evaluation.metrics import auc, gauc
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.evaluation.seeds import measure_grid
from recbole_clickprompt.evaluation.tables import markdown_table
from recbole_clickprompt.tuning.results import read_results

__all__ = ["earlier_rows", "main", "subsets", "with_earlier_likes"]

_EDGES = (0, 1, 5, 20, np.inf)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.history_subsets``; returns the exit code, 2 for invalid input."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.history_subsets", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("table", type=Path, help="of a grid that varies no setting")
    parser.add_argument("--baseline", required=True, help="the run that others are compared with")
    options = parser.parse_args(arguments)
    try:
        print(f"{_table(options.table, options.baseline)}\n\n{_with_share_of_likes(options.table)}")
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _table(path: Path, baseline: str) -> str:
    """One line per run and one column per subset, as Markdown."""
    if not path.is_file():
        raise DataError(f"there is no table of a grid {path}")
    results = read_results(path, ["run", "seed", "checkpoint"])
    if baseline not in set(results["run"]):
        raise DataError(f"--baseline must be one of {', '.join(results['run'].unique())}, got {baseline!r}")
    earlier = earlier_rows(open_run(results["checkpoint"].iloc[0]).predictions())
    measured = measure_grid(results, lambda table, counts: subsets(table, counts, earlier), split="test")
    columns = measured[["subset", "rows"]].drop_duplicates()
    scores = measured.pivot(index=["run", "seed"], columns="subset", values="auc")
    lines = []
    for run in results["run"].unique():
        line = [run, str(len(scores.loc[run]))]
        for subset in columns["subset"]:
            pair = scores.loc[run, subset].to_frame("run").join(scores.loc[baseline, subset], how="inner")
            gain = 100 * (pair["run"].mean() / pair[subset].mean() - 1)
            line.append(f"{scores.loc[run, subset].mean():.4f}" + ("" if run == baseline else f" ({gain:+.1f} %)"))
        lines.append(line)
    named = [f"{subset}, {rows:,} rows" for subset, rows in columns.itertuples(index=False)]
    return markdown_table(["model", "seeds", *named], lines)


def _with_share_of_likes(path: Path) -> str:
    """AUC and GAUC of new users with and without the share of label 1 among their earlier clicks, as Markdown."""
    lines = []
    for record in read_results(path, []).to_dict("records"):
        run = open_run(record["checkpoint"])
        table, counts = run.predictions(), run.train_counts()
        table = with_earlier_likes(table[training_rows_of(table, counts, "user") == 0])
        test = table[table["split"] == "test"]
        if test.empty or (table["split"] == "valid").sum() == 0:
            raise DataError(f"{record['checkpoint']} has no validation and test rows of new users")
        combined = _combined(table)
        line = {"run": record["run"], "AUC": auc(test["label"], test["score"])}
        line["share of likes only"] = auc(test["label"], test["share"])
        line["score and share"] = auc(test["label"], combined)
        line["GAUC"] = gauc(test["user"], test["label"], test["score"])
        line["GAUC of score and share"] = gauc(test["user"], test["label"], combined)
        lines.append(line)
    means = pd.DataFrame(lines).groupby("run", sort=False).mean()
    rows = [[str(run), *(f"{value:.4f}" for value in values)] for run, *values in means.itertuples()]
    return markdown_table(["new users", *means.columns], rows)


def with_earlier_likes(table: pd.DataFrame) -> pd.DataFrame:
    """Adds a column ``share``: log odds of label 1 among the strictly earlier rows of a row's user.

    Four likes and one dislike are added, so that it is defined for the first row.
    """
    times = table.groupby(["user", "time"])["label"].agg(["sum", "count"])
    earlier = times.groupby("user").cumsum() - times
    earlier["share"] = np.log((earlier["sum"] + 4) / (earlier["count"] - earlier["sum"] + 1))
    return table.join(earlier["share"], on=["user", "time"])


def _combined(table: pd.DataFrame) -> np.ndarray:
    """Scores of the test rows by a logistic regression that is fitted on the validation rows."""
    score = table["score"].clip(1e-6, 1 - 1e-6)
    inputs = np.column_stack([np.log(score / (1 - score)), table["share"]])
    fitted, test = (table["split"] == "valid").to_numpy(), (table["split"] == "test").to_numpy()
    model = LogisticRegression().fit(inputs[fitted], table["label"][fitted])
    return np.asarray(model.predict_proba(inputs[test])[:, 1])


def earlier_rows(predictions: pd.DataFrame) -> np.ndarray:
    """Of each test row, the validation and test rows of its user that are strictly earlier, ``(rows,)``."""
    ranks = predictions.groupby("user")["time"].rank(method="min") - 1
    return ranks[predictions["split"] == "test"].to_numpy().astype(int)


def subsets(table: pd.DataFrame, counts: pd.DataFrame, earlier: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of test rows, ``(rows,)``, by name.

    Args:
        table: Predictions of test rows.
        counts: The result of ``RunFolder.train_counts``.
        earlier: The result of ``earlier_rows``.
    """
    known = training_rows_of(table, counts, "user") > 0
    masks = {"all": np.ones(len(table), dtype=bool), "known users": known}
    for low, high in pairwise(_EDGES):
        name = "0" if high == 1 else f"{low} or more" if np.isinf(high) else f"{low} to {int(high) - 1}"
        masks[f"new users with {name} earlier clicks"] = ~known & (earlier >= low) & (earlier < high)
    return masks


if __name__ == "__main__":
    sys.exit(main())

"""AUC of a grid of runs for known users, and for new users by their number of earlier clicks.

    python -m benchmarks.history_subsets results/history-ml-100k.csv --baseline="plain DCNv2"

A new user has no training row, so that the earlier clicks are validation and test rows. Reads the run folders
only: no data set, no model. Prints means over seeds, and how much higher each is than that of the baseline.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import DataError, UserError
from recbole_clickprompt.evaluation.long_tail import training_rows_of
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.evaluation.seeds import measure_grid
from recbole_clickprompt.evaluation.tables import markdown_table
from recbole_clickprompt.tuning.results import read_results

__all__ = ["earlier_rows", "main", "subsets"]

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
        print(_table(options.table, options.baseline))
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

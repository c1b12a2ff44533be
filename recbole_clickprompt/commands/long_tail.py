"""Compare runs on subsets of the test rows, by the frequency of user and item in training (Table 6 of the paper).

Of the users that have training rows, and likewise of the items, the 10 % with the fewest are the long tail (ties
are broken by token); the rest are the head. Rows whose user or item has none are listed separately as "unseen";
with --unseen-is-tail they are counted as long tail, so that the four subsets hold all rows.

--bins=0,1,5,20,inf divides rows by the number of training rows of the user, and of the item, instead: 0, 1 to 4,
5 to 19, 20 or more. Runs must have been trained and tested on the same rows. The relative AUC is against
--baseline (default: the first run), and its interval is that of a paired bootstrap.

The table of a grid, such as results/demo-ml-100k.csv, instead of runs gives means over its seeds, with paired
tests against --baseline.

Reads only the run folders: no data set, no model, no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.runs import (
    add_runs,
    add_sampling,
    bootstrap_options,
    check_options,
    emit_table,
    parse_runs,
)
from recbole_clickprompt.errors import DataError, SettingError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from recbole_clickprompt.evaluation.run_folder import RunFolder
    from recbole_clickprompt.evaluation.seeds import Cut

__all__ = ["add_arguments", "execute", "markdown"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the subsets of rows, and the bootstrap."""
    add_runs(parser)
    parser.add_argument("--tail", type=float, default=0.1, help="share of the long tail (default: %(default)s)")
    parser.add_argument("--unseen-is-tail", action="store_true", help="count unseen users and items as long tail")
    parser.add_argument("--bins", metavar="N,N,...", help="divide by number of training rows instead")
    add_sampling(parser)


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints one table with a line per subset.

    Raises:
        SettingError: An argument is invalid.
        DataError: A run or table cannot be read, or the rows of two runs differ.
    """
    from recbole_clickprompt.evaluation.long_tail import by_bins, by_tail

    check_options(options, settings)
    if not 0 < options.tail < 1:
        raise SettingError(f"--tail must be between 0 and 1, got {options.tail}")
    edges = None if options.bins is None else _edges(options.bins)

    def cut(rows: pd.DataFrame, counts: pd.DataFrame) -> dict[str, np.ndarray]:
        if edges is not None:
            return by_bins(rows, counts, edges)
        return by_tail(rows, counts, share=options.tail, unseen_is_tail=options.unseen_is_tail)

    if len(options.runs) == 1 and Path(options.runs[0]).suffix in (".csv", ".parquet"):
        table, text = _over_seeds(Path(options.runs[0]), cut, options)
    else:
        table, text = _over_rows(cut, options)
    emit_table(table, text, out=options.out)


def _over_rows(cut: Cut, options: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    from recbole_clickprompt.evaluation.long_tail import compare_subsets

    runs, baseline = parse_runs(options)
    tables = {name: run.predictions(options.split) for name, run in runs.items()}
    subsets = cut(next(iter(tables.values())), _shared_counts(runs))
    table = compare_subsets(tables, subsets, baseline=baseline, **bootstrap_options(options))
    return table, markdown(table, confidence=options.confidence)


def _over_seeds(path: Path, cut: Cut, options: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    from recbole_clickprompt.evaluation.seeds import measure_grid, varied
    from recbole_clickprompt.evaluation.summary import markdown as over_seeds
    from recbole_clickprompt.evaluation.summary import summarize
    from recbole_clickprompt.tuning.results import read_results

    if not path.is_file():
        raise DataError(f"there is no table of a grid {path}")
    results = read_results(path, [])
    by = ["subset", *varied(results)]
    if options.baseline is not None and options.baseline not in set(results["run"]):
        names = ", ".join(dict.fromkeys(results["run"]))
        raise SettingError(f"--baseline must be one of {names}, got {options.baseline!r}")
    measured = measure_grid(results, cut, split=options.split)
    subsets = measured["subset"].unique().tolist()
    in_order = measured.sort_values("subset", key=lambda names: names.map(subsets.index), kind="stable")
    named = in_order.assign(subset=in_order["subset"] + in_order["rows"].map(" ({:,} rows)".format))
    return measured, over_seeds(summarize(named, by=by, baseline=options.baseline), by=by)


def _edges(text: str) -> list[float]:
    try:
        edges = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingError(f"--bins must be numbers such as 0,1,5,20,inf, got {text!r}") from error
    if any(edge != edge or edge < 0 or not (edge == float("inf") or edge.is_integer()) for edge in edges):
        raise SettingError(f"--bins must be numbers of training rows, whole numbers from 0 or inf, got {text!r}")
    return edges


def _shared_counts(runs: dict[str, RunFolder]) -> pd.DataFrame:
    (first, run), *others = runs.items()
    counts = run.train_counts()
    order = ["kind", "token"]
    expected = counts.sort_values(order).to_numpy().tolist()
    for name, other in others:
        if other.train_counts().sort_values(order).to_numpy().tolist() != expected:
            raise DataError(
                f"{first} and {name} were trained on different rows; compare runs of one data set and split"
            )
    return counts


def markdown(table: pd.DataFrame, *, confidence: float = 0.95) -> str:
    """The result of ``compare_subsets`` as a Markdown table, runs side by side."""
    import pandas as pd

    from recbole_clickprompt.evaluation.tables import interval_cell, markdown_table, percent

    level = f"[{100 * confidence:g} %]"
    runs = list(dict.fromkeys(table["run"]))
    compared = set(table.loc[table["relative_auc"].notna(), "run"])
    header = ["rows with", "rows", "users", "items", "positive"]
    for name in runs:
        header += [f"{name}: AUC {level}", f"LogLoss {level}", *(["relative AUC"] if name in compared else [])]
    rows = []
    for subset, lines in table.groupby("subset", sort=False):
        line = lines.iloc[0]
        share = "" if pd.isna(line["positive_rate"]) else f"{100 * line['positive_rate']:.1f} %"
        cells = [str(subset), f"{line['rows']:,}", f"{line['users']:,}", f"{line['items']:,}", share]
        for _, run in lines.iterrows():
            cells.append(run["note"] or interval_cell(run, "auc"))
            cells.append(interval_cell(run, "logloss"))
            relative = run[["relative_auc", "relative_auc_low", "relative_auc_high"]]
            cells += [percent(*relative)] if run["run"] in compared else []
        rows.append(cells)
    return markdown_table(header, rows)

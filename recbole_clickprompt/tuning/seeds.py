"""Runs over settings and seeds, each recorded in a table and never repeated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from recbole_clickprompt.host.untrusted_input import parse_literal
from recbole_clickprompt.trainer.run_logger import collect_finished_runs
from recbole_clickprompt.tuning.data_files import DATA, check_same_data, data_digest
from recbole_clickprompt.tuning.results import append_row, digest, read_results

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cell", "run_cells"]

# What identifies a run in the table (`run`, `seed`, varied settings), and all of its settings
Cell: TypeAlias = tuple[dict[str, Any], dict[str, Any]]


def run_cells(cells: Sequence[Cell], table: Path, *, command: str) -> pd.DataFrame:
    """Runs what is missing in the table, appending each run as it finishes.

    Args:
        cells: The runs.
        table: A csv or parquet file, which may hold other runs too.
        command: The command, for its messages.

    Returns:
        The lines of the table that belong to ``cells``: ``run``, ``seed`` and varied settings, the test metrics,
        ``valid_score``, ``minutes``, ``checkpoint`` (missing for models without a run folder), ``digest`` and
        ``data``.

    Raises:
        DataError: The table cannot be read, or its runs read other files of the data set than there are now.
        StorageError: It cannot be written.
    """
    from recbole.quick_start import run_recbole

    keys = [digest(cell, config) for cell, config in cells]
    recorded = _read(table)
    for (_, config), key in zip(cells, keys, strict=True):
        rows = recorded[recorded["digest"] == key]
        if len(rows):
            check_same_data(rows, data_digest(config), table=table, dataset=str(config["dataset"]))
    for number, ((cell, config), key) in enumerate(zip(cells, keys, strict=True), start=1):
        if key in set(_read(table)["digest"]):  # another process may have added it in the meantime
            continue
        print(f"{command}: run {number} of {len(cells)}: {cell}", flush=True)
        start = time.monotonic()
        with collect_finished_runs() as runs:
            outcome = run_recbole(config_dict={**config, **_quoted_name(config.get("dataset"))})
        row = {
            **cell,
            **outcome["test_result"],
            "valid_score": outcome["best_valid_score"],
            "minutes": round((time.monotonic() - start) / 60, 2),
            "checkpoint": str(runs[-1]) if runs else None,  # RecBole's own models leave no run folder
            DATA: data_digest(config),
            "digest": key,  # the last column: a line without its end does not count
        }
        append_row(row, table)
    results = _read(table)
    return results[results["digest"].isin(keys)]


def _read(table: Path) -> pd.DataFrame:
    return read_results(table, ["run", "seed", "auc", "logloss", "digest"], numbers=["seed", "auc", "logloss"])


def _quoted_name(dataset: object) -> dict[str, str]:
    # RecBole would read the setting 007 as a number
    is_number = isinstance(dataset, str) and parse_literal(dataset) != dataset
    return {"dataset": repr(dataset)} if is_number else {}

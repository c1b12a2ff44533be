"""Runs over settings and seeds, each recorded in a table and never repeated."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from recbole.config import Config

from recbole_clickprompt.errors import DataError, UserError
from recbole_clickprompt.host.untrusted_input import parse_literal
from recbole_clickprompt.trainer.run_logger import collect_finished_runs
from recbole_clickprompt.tuning.data_files import DATA, check_same_data, data_digest
from recbole_clickprompt.tuning.results import append_row, check_table, digest, read_results

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
        SettingError: A setting of a run is invalid; those of all runs are checked before the first is trained.
        DataError: The table cannot be read, or its runs read other files of the data set than there are now, or
            were changed in it by hand; or a file of knowledge is missing.
        StorageError: It cannot be written.
    """
    from recbole.quick_start import run_recbole

    keys = [digest(cell, config) for cell, config in cells]
    recorded = _read(table)
    for (cell, config), key in zip(cells, keys, strict=True):
        now = data_digest(config)  # refuses a missing file of knowledge before anything is trained
        rows = recorded[recorded["digest"] == key]
        if len(rows):
            _check_cell(rows, cell, table)
            check_same_data(rows, now, table=table, dataset=str(config["dataset"]))
    done = set(recorded["digest"])
    missing = [cell for cell, key in zip(cells, keys, strict=True) if key not in done]
    _check_settings(missing)
    if missing:
        check_table(table)
    for number, ((cell, config), key) in enumerate(zip(cells, keys, strict=True), start=1):
        if key in set(_read(table)["digest"]):  # another process may have added it in the meantime
            continue
        print(f"{command}: run {number} of {len(cells)}: {cell}", flush=True)
        start = time.monotonic()
        with collect_finished_runs() as runs:
            outcome = run_recbole(config_dict=_quoted_name(config))
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
    numbers = ["seed", "auc", "logloss"]
    return read_results(table, ["run", *numbers, "digest"], numbers=[*numbers, "valid_score", "minutes"])


def _check_cell(rows: pd.DataFrame, cell: Mapping[str, Any], table: Path) -> None:
    """Refuses a row in which the run, the seed or a varied setting differs from what its digest stands for."""
    for name, value in cell.items():
        got = rows[name].iloc[0] if name in rows else None
        if not _same(value, got):
            raise DataError(
                f"{table}: {name} must be {value!r} in the row with digest {rows['digest'].iloc[0]}, got "
                f"{'an empty cell' if pd.isna(got) else repr(got)}; restore it, or remove the row to run it again"
            )


def _same(value: object, got: Any) -> bool:
    """Whether a cell of a table, which may have become a number or lost its type, holds a value."""
    if pd.isna(got):  # an empty cell
        return value in (None, "")
    if str(value) == str(got):
        return True
    try:
        return float(str(value)) == float(str(got))  # 1 in a column with 0.5, and 007
    except ValueError:
        return False


def _check_settings(cells: Sequence[Cell]) -> None:
    """Refuses settings that can be seen to be invalid without data; of several seeds, those of the first."""
    for cell, config in cells:
        if cell["seed"] != cells[0][0]["seed"]:
            break
        try:
            Config(config_dict=dict(_quoted_name(config)))  # a copy: Config converts values in place
        except UserError as error:
            raise type(error)(f"the run {cell['run']}: {error}") from error


def _quoted_name(config: dict[str, Any]) -> dict[str, Any]:
    # RecBole would read the data set 007 as a number
    name = config.get("dataset")
    is_number = isinstance(name, str) and parse_literal(name) != name
    return {**config, "dataset": repr(name)} if is_number else config

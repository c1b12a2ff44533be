"""Tables of results: appended run by run, written as a whole, with one row per digest."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import DataError, StorageError
from recbole_clickprompt.files import locked, warn_once, write_whole

__all__ = ["append_row", "check_table", "digest", "read_results"]


# Columns that are text even if their values look like numbers, such as the name of a run
_TEXT = dict.fromkeys(("run", "checkpoint", "error", "digest", "data"), str)
# Expected numbers in columns of this name, with or without valid_ or test_ before it: smallest, largest, in words
_SHARE, _AMOUNT = (0.0, 1.0, "a number from 0 to 1"), (0.0, math.inf, "a number from 0")
_EXPECTED = {"auc": _SHARE, "gauc": _SHARE, "logloss": _AMOUNT, "minutes": _AMOUNT}
_ANY = (-math.inf, math.inf, "a number")
# Hex digits can look like a number: pandas 2 crashes on 12e3456789012345, and reads 1234567890123456 as an integer
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def digest(*settings: object) -> str:
    """16 letters that identify the settings of a run."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16].translate(_LETTERS)


def read_results(table: Path, columns: list[str], *, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a csv or parquet file, the first one of each digest; a warning reports rows that are left out.

    A file without a column ``digest`` is read unchanged.

    Args:
        table: The file.
        columns: Required columns; also those of the empty table that is returned if there is no such file.
        numbers: Patterns of the columns that contain finite numbers; an AUC lies between 0 and 1, and a log loss
            or a time is not negative. A required number may be missing only in rows with an ``error``.

    Raises:
        DataError: The file cannot be read, lacks a column, or has an invalid number.
    """
    if not table.is_file():
        return pd.DataFrame(columns=columns)
    rows = _read(table)
    lacking = [name for name in columns if name not in rows]
    if lacking:
        raise DataError(
            f"{table} is not a results table of this command: it has no column {lacking[0]}; move it, or name "
            "another file"
        )
    failed = rows["error"].notna() if "error" in rows else pd.Series(False, index=rows.index)
    counted = _has_digest(rows) if "digest" in rows else pd.Series(True, index=rows.index)
    for name in (name for name in rows.columns if any(fnmatch(str(name), pattern) for pattern in numbers)):
        values = pd.to_numeric(rows[name], errors="coerce")
        low, high, expected = _EXPECTED.get(str(name).removeprefix("valid_").removeprefix("test_"), _ANY)
        valid = (values.abs() < math.inf) & values.between(low, high)
        missing = rows[name].isna()
        allowed = missing if name not in columns else missing & failed
        for row in rows.index[counted & ~valid & ~allowed][:1]:
            where = f"row {row + 1}" if table.suffix == ".parquet" else f"line {row + 2}"
            got = "an empty cell" if missing[row] else repr(str(rows[name][row])[:60])
            raise DataError(f"{table}, {where}: {name} must be {expected}, got {got}; restore or remove it")
        rows[name] = values
    return _one_row_each(rows, table)


def check_table(table: Path) -> None:
    """Fails before anything is trained if a table cannot be written.

    Raises:
        StorageError: Its folder is not writable, or it is a folder itself.
    """
    with locked(table):
        if table.is_dir():
            raise StorageError(f"{table} cannot be written: it is a folder; move it, or name another file")


def append_row(row: dict[str, Any], table: Path) -> pd.DataFrame:
    """Appends a row to the file and returns all rows.

    Rows that other processes have added in the meantime are kept; if one of them has the same digest, the new row
    is dropped with a warning.

    Raises:
        StorageError: The file cannot be written.
    """
    with locked(table):
        results = _read(table) if table.is_file() else pd.DataFrame()
        if "digest" in row and row["digest"] in set(results.get("digest", ())):
            getLogger().warning(f"{table}: another process has added this run in the meantime; its row is kept")
        else:
            new = pd.DataFrame([row])
            results = pd.concat([results, new], ignore_index=True) if len(results) else new
            as_parquet = table.suffix == ".parquet"
            write_whole(table, results.to_parquet if as_parquet else partial(results.to_csv, index=False))
    return _one_row_each(results, table)


def _read(table: Path) -> pd.DataFrame:
    try:
        rows = _parsed(table)
        for name in rows.columns:
            if rows[name].map(lambda value: isinstance(value, list | dict | np.ndarray)).any():
                raise ValueError(f"its column {name} holds lists or mappings, expected texts or numbers")
    except (ValueError, OSError, TypeError, LookupError, AttributeError, ArithmeticError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {' '.join(str(error).split())}; restore or move it") from error
    for name in rows.columns.intersection([*_TEXT]):
        for row in rows.index[rows[name].notna() & ~rows[name].map(lambda value: isinstance(value, str))][:1]:
            raise DataError(f"{table}: {name} must be a text, got {rows[name][row]!r:.60}; restore or move it")
    return rows


def _parsed(table: Path) -> pd.DataFrame:
    if table.suffix == ".parquet":
        return pd.read_parquet(table).reset_index(drop=True)
    if table.suffix == ".json":
        return pd.read_json(table, dtype=_TEXT)
    _check_cells(table)
    # A run may be named None; only empty cells are missing
    return pd.read_csv(
        table, float_precision="round_trip", dtype=_TEXT, keep_default_na=False, na_values=[""], index_col=False
    )


def _check_cells(table: Path) -> None:
    """Raises ValueError where pandas would rename a column or cut a line.

    A line that is too short has lost its end, where the digest is: it does not count, and that is reported.
    """
    with table.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, strict=True)
        header = next(lines, [])
        if len(set(header)) < len(header):
            raise ValueError("a column is in its header twice")
        for values in lines:
            if len(values) > len(header):
                raise ValueError(
                    f"line {lines.line_num} has {len(values)} values where the header has {len(header)} columns"
                )


def _has_digest(rows: pd.DataFrame) -> pd.Series:
    """Which rows end with a whole digest: a cut line has lost it or a part of it."""
    return rows["digest"].str.fullmatch("[a-p]{16}").fillna(False).astype(bool)


def _one_row_each(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    if "digest" not in rows:
        return rows
    unknown = ~_has_digest(rows)
    if count := int(unknown.sum()):
        rows_without = "1 row has no digest, so its" if count == 1 else f"{count} rows have no digest, so their"
        _warn(table, f"{rows_without} settings are unknown; {'it is' if count == 1 else 'they are'} ignored")
    rows = rows[~unknown]
    repeated = rows.duplicated("digest")
    if count := int(repeated.sum()):
        repeats = "1 row repeats the digest of one above it" if count == 1 else (
            f"{count} rows repeat the digest of one above them"
        )  # fmt: skip
        if different := int((repeated & ~rows.duplicated()).sum()):
            repeats += f", {different} with other values"
        _warn(table, f"{repeats}; the first row of each digest is used")
    return rows[~repeated].reset_index(drop=True)


def _warn(table: Path, problem: str) -> None:
    warn_once(table.resolve(), f"{table}: {problem}; the file is not changed")

"""A results table that is appended run by run and never half-written."""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["append_row", "digest", "read_results"]


# Columns whose values are text even where they look like numbers, as the name of a run may
_TEXT = dict.fromkeys(("run", "checkpoint", "error", "digest"), str)
# Hex digits would now and then be a number to who reads a table: 12e3456789012345 ends pandas 2 by a segmentation
# fault, and 1234567890123456 equals no text
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def digest(*what: Any) -> str:
    """16 letters that stand for a run's settings."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16].translate(_LETTERS)


def read_results(table: Path, columns: list[str]) -> pd.DataFrame:
    """The rows of a csv or parquet file; none, with ``columns``, where it is not there."""
    if not table.is_file():
        return pd.DataFrame(columns=columns)
    if table.suffix == ".parquet":
        return pd.read_parquet(table)
    # A run may be called None; what is missing is empty
    return pd.read_csv(table, float_precision="round_trip", dtype=_TEXT, keep_default_na=False, na_values=[""])


def append_row(row: dict[str, Any], table: Path) -> pd.DataFrame:
    """All rows of the table with one more, which is in the file when this returns.

    What other processes have added meanwhile stays.
    """
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.with_name(f"{table.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there, new = read_results(table, []), pd.DataFrame([row])
        results = pd.concat([there, new], ignore_index=True) if len(there) else new
        partial = table.with_name(f"{table.name}.partial")
        if table.suffix == ".parquet":
            results.to_parquet(partial)
        else:
            results.to_csv(partial, index=False)
        partial.replace(table)
    return results

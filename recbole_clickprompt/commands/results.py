"""A results table that is appended run by run and never half-written."""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["append_row", "digest", "read_results"]


def digest(*what: Any) -> str:
    """16 hex digits that stand for a run's settings."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_results(table: Path, columns: list[str]) -> pd.DataFrame:
    """The rows of a csv or parquet file; none, with ``columns``, where it is not there."""
    if not table.is_file():
        return pd.DataFrame(columns=columns)
    return (
        pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table, float_precision="round_trip")
    )


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

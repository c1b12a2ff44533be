"""A results table that is appended run by run and never half-written."""

from __future__ import annotations

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


def append_row(results: pd.DataFrame, row: dict[str, Any], table: Path) -> pd.DataFrame:
    """The results with one more row, which is in the file too when this returns."""
    new = pd.DataFrame([row])
    results = pd.concat([results, new], ignore_index=True) if len(results) else new
    table.parent.mkdir(parents=True, exist_ok=True)
    partial = table.with_name(f"{table.name}.partial")
    if table.suffix == ".parquet":
        results.to_parquet(partial)
    else:
        results.to_csv(partial, index=False)
    partial.replace(table)
    return results

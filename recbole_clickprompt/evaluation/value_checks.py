"""Checks of values that were read from the files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["reject_rows", "short_repr"]

_MAX_CHARACTERS = 60


def reject_rows(table: pd.DataFrame, column: str, invalid: pd.Series, expected: str, path: Path) -> None:
    """Refuses a table with invalid values.

    Args:
        table: What was read.
        column: The column that was checked.
        invalid: Boolean, one per row.
        expected: What a value has to be, in words.
        path: The file, for the message.

    Raises:
        DataError: A row is invalid; names the first.
    """
    for row in table.index[invalid][:1]:
        got = short_repr(table[column][row])
        raise DataError(f"{path}, row {row + 1}: {column} must be {expected}, got {got}; train again")


def short_repr(value: object) -> str:
    """``repr`` of a value, shortened for messages; NumPy scalars as Python's."""
    text = repr(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."

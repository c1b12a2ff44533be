"""Opens a user's table: csv, tsv or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.csv_blocks import CsvBlocks
from recbole_clickprompt.data.convert.parquet_blocks import ParquetBlocks
from recbole_clickprompt.errors import DataError

__all__ = ["UserFile", "open_user_file"]

_NO_QUOTING = "; where quotes are ordinary characters of the text, pass --no-quoting"


class UserFile(Protocol):
    """A file of rows that is read batch by batch.

    Attributes:
        file: Name of the file, for messages.
        notes: What is odd about the file, one line each; complete once all batches have been read.
    """

    file: str
    notes: list[str]

    def batches(self) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
        """Rows, and the line of each, ``(rows,)`` int64; at least one batch. Raises DataError."""


def open_user_file(path: Path, *, label: str, quoting: bool = True) -> UserFile:
    """A .csv or .tsv (also .gz) file with a header, in UTF-8, or a .parquet file.

    Args:
        path: The file.
        label: A column of numbers, see ``quotes.find_spans``.
        quoting: Whether a value of csv may be in quotes.

    Raises:
        DataError: There is no such file.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.suffix == ".parquet":
        return ParquetBlocks(path)
    return CsvBlocks(path, quoting=quoting, number_column=label, quote_remedy=_NO_QUOTING)

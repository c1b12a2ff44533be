"""Finds likely mistakes in a user's table, which is read unchanged; each gets a note."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.distinct import DistinctValues, FlagCounts, hash_columns
from recbole_clickprompt.data.convert.typed import column_numbers

__all__ = ["CountingColumn", "ListScan", "repeated_rows"]

_FEW_ROWS = 10  # in fewer a column with a name may count the rows by chance

_ARE_LISTS = 0.1  # part of the different values that must look like lists of several elements

_SEPARATORS = "|;,"
_LIST_PATTERNS = (
    r"^\s*(?:\[.*\]|\{.*\}|\(.*,.*\))\s*$",
    *(rf"[^\s{separator}]\s*\{separator}\s*[^\s{separator}]" for separator in _SEPARATORS),
)


def repeated_rows(repeated: int) -> list[str]:
    """A note on rows that are the same as an earlier one in every column."""
    if not repeated:
        return []
    return ["1 row repeats an earlier one" if repeated == 1 else f"{repeated:,} rows repeat an earlier one"]


class CountingColumn:
    """Whether a column numbers the rows, such as the index that pandas writes, batch by batch.

    Args:
        column: Name of the column.
    """

    def __init__(self, column: str) -> None:
        self._column, self._rows = column, 0
        self._starts = {0, 1}

    def add(self, values: pl.Series) -> None:
        """Adds a batch; all rows of the file must be added."""
        if not (values.dtype.is_numeric() or values.dtype == pl.String):
            self._starts.clear()
        if self._starts and len(values):
            numbers = column_numbers(values).values
            expected = pl.int_range(self._rows, self._rows + len(values), eager=True)
            self._starts = {s for s in self._starts if (numbers == expected + s).fill_null(False).all()}
        self._rows += len(values)

    def notes(self) -> list[str]:
        """That the column should be left out."""
        if self._rows < (_FEW_ROWS if self._column.strip() else 2):
            return []
        return [
            f"column {self._column!r} counts the rows from {start}: leave it out with --drop"
            for start in self._starts
        ]


class ListScan:
    """Whether texts such as ``Action|Comedy`` and ``['a', 'b']`` are lists, each read as one value.

    Each different text counts once. Which of the separators is meant is only known after the first reading; of a
    comma or a semicolon the elements are counted in a second one, as it may as well be part of a text.

    Args:
        column: Name of the column.
        folder: For temporary files.
    """

    def __init__(self, column: str, folder: Path) -> None:
        self._column, self._folder = column, folder
        self._texts = DistinctValues(folder, with_rows=True)
        self._shown: dict[int, str] = {}  # flag: the first text that has it
        self._counts: FlagCounts | None = None
        self._elements: dict[str, DistinctValues] = {}

    def add(self, values: pl.Series) -> None:
        """Adds a batch to the first reading."""
        texts = values.drop_nulls().unique(maintain_order=True)
        flags = np.zeros(len(texts), np.uint8)
        for bit, pattern in enumerate(_LIST_PATTERNS):
            found = texts.str.contains(pattern)
            flags |= found.to_numpy().astype(np.uint8) << np.uint8(bit)
            if found.any():
                self._shown.setdefault(bit, texts.filter(found)[0])
        self._texts.add(hash_columns(texts), flags)

    def wants_elements(self) -> bool:
        """Ends the first reading; whether a second one is needed."""
        self._counts = counts = self._texts.flag_counts() if self._shown else None
        if counts is None or 2 * counts.flagged[0] > counts.values or self._are_many(1):
            return False
        separators = [separator for bit, separator in enumerate(_SEPARATORS, 1) if self._are_many(bit)]
        self._elements = {separator: DistinctValues(self._folder) for separator in separators}
        return bool(separators)

    def add_elements(self, values: pl.Series) -> None:
        """Adds a batch to the second reading."""
        texts = values.drop_nulls().unique()
        for separator, elements in self._elements.items():
            elements.add(hash_columns(texts.str.split(separator).explode().str.strip_chars()))

    def notes(self) -> list[str]:
        """That the texts look like lists."""
        counts = self._counts
        if counts is None:
            return []
        if 2 * counts.flagged[0] > counts.values:
            return self._note(0)
        if self._are_many(1):
            return self._note(1)
        for bit, separator in enumerate(_SEPARATORS[1:], 2):
            elements = self._elements.get(separator)
            if elements is not None and elements.count() < counts.values:
                return self._note(bit)
        return []

    def _are_many(self, bit: int) -> bool:
        """Enough different texts hold several elements."""
        assert self._counts is not None
        number = int(self._counts.flagged[bit])
        return number > 0 and number >= _ARE_LISTS * self._counts.values

    def _note(self, bit: int) -> list[str]:
        text = self._shown[bit]
        shown = text if len(text) < 60 else f"{text[:60]}…"
        remedy = "write the table as parquet, with a column of lists"
        if bit:
            option = shlex.quote(f"{self._column}={_SEPARATORS[bit - 1]}")
            remedy = f"pass --list {option}"
        return [
            f"{self._column}: looks like a list, such as {shown!r}, and is read as one value; to have its "
            f"elements, {remedy}"
        ]

"""Columns of a user's table as numbers or ids, for any type that the file gives them."""

from __future__ import annotations

import polars as pl

from recbole_clickprompt.data.convert.table import Faults, TextTable
from recbole_clickprompt.data.numbers import ParsedNumbers, parse_numbers
from recbole_clickprompt.errors import DataError

__all__ = ["IdColumn", "MissingNumbers", "column_numbers", "counted"]


def column_numbers(values: pl.Series) -> ParsedNumbers:
    """``parse_numbers`` for texts, and the same for a column of numbers or booleans, where NaN is missing."""
    if values.dtype == pl.String:
        return parse_numbers(values)
    numbers = values.cast(pl.Float64).fill_nan(None)
    infinite = numbers.is_infinite().fill_null(False)
    finite = pl.select(pl.when(~infinite).then(numbers)).to_series().rename(values.name)
    return ParsedNumbers(finite, infinite, pl.repeat(False, len(values), eager=True))


class MissingNumbers:
    """Counts the missing and infinite values of a column of numbers, batch by batch.

    Args:
        column: Name of the column.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._infinite = self._missing = 0
        self._words: set[str] = set()

    def add(self, values: pl.Series, numbers: ParsedNumbers) -> None:
        """Adds a batch: the values as they are in the file, and as numbers."""
        self._infinite += int(numbers.infinite.sum())
        missing = values.filter(numbers.values.is_null() & ~numbers.infinite & ~numbers.invalid)
        self._missing += len(missing)
        words = missing.cast(pl.String).str.strip_chars().fill_null("").unique()
        # only the first five are shown
        self._words = set(sorted(self._words.union(words))[:5])

    def notes(self) -> list[str]:
        """How many values are missing or infinite, and how the missing ones are written."""
        notes = []
        if self._missing:
            words = ", ".join(word or "empty" for word in sorted(self._words))
            notes.append(f"{self._column}: {counted(self._missing, 'value')} missing ({words})")
        if self._infinite:
            notes.append(f"{self._column}: {counted(self._infinite, 'infinite value')} counted as missing")
        return notes


def counted(number: int, noun: str) -> str:
    """``"1 value is"`` or ``"2 values are"``."""
    return f"{number:,} {noun} is" if number == 1 else f"{number:,} {noun}s are"


class IdColumn:
    """A column of ids, batch by batch: texts without blanks around them.

    Args:
        column: Name of the column.

    Attributes:
        changed: How many ids had blanks around them.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._rows = self.changed = 0
        self._example: tuple[object, str] | None = None  # of a whole number with a decimal point
        self._missing = Faults(column, "is missing")
        self._infinite = Faults(column, "is infinite, which is no id")
        self._fraction = Faults(column, "is no whole number; write ids as whole numbers or texts")
        self._rounded = Faults(column, "may be rounded; write ids as whole numbers or texts")
        self._breaking = Faults(column, "holds a NUL, a tab or a line break; remove it")

    def read(self, table: TextTable, kept: pl.Series) -> pl.Series:
        """The ids of a batch.

        Args:
            table: The batch.
            kept: ``(rows,)``, false for rows whose ids do not matter.

        Raises:
            DataError: The column can hold no ids.
        """
        values = table.frame[self._column]
        if values.dtype.is_nested() or values.dtype == pl.Binary:
            raise DataError(
                f"{table.file}, column {self._column}: an id must be a text or a number, got {values.dtype}"
            )
        if values.dtype.is_float():
            return self._whole_ids(table, kept)
        texts = values.cast(pl.String)
        ids = texts.str.strip_chars().replace("", None)
        self._missing.add(table, ids.is_null() & kept)
        self._breaking.add(table, ids.str.contains(r"[\x00\t\r\n]") & kept)
        self.changed += int(((ids != texts) & kept).sum())
        self._rows += int(kept.sum())
        return ids

    def check(self) -> None:
        """Raises DataError where an id is missing, no whole number, or holds a character that would split or merge
        ids in a file.
        """
        for faults in (self._infinite, self._missing, self._fraction, self._rounded, self._breaking):
            faults.check()

    def notes(self, merged: int) -> list[str]:
        """What was changed; ``merged`` is how many ids became the same as another."""
        if self._example:
            before, after = self._example
            return [f"{self._column}: ids such as {before} were read as whole numbers, such as {after}"]
        if not self.changed:
            return []
        more = f"; {counted(merged, 'id')} now one with another that has none" if merged else ""
        return [
            f"{self._column}: blanks around ids were removed, in {self.changed:,} of {self._rows:,} rows{more}"
        ]

    def _whole_ids(self, table: TextTable, kept: pl.Series) -> pl.Series:
        """Ids such as 1.0, as libraries make of whole numbers where one is missing, to 1 as in any other file."""
        values = table.frame[self._column]
        self._infinite.add(table, values.is_infinite().fill_null(False) & kept)
        self._missing.add(table, (values.is_null() | values.is_nan()) & kept)
        self._fraction.add(table, (values % 1 != 0) & kept)
        self._rounded.add(table, (values.abs() >= 2.0 ** (24 if values.dtype == pl.Float32 else 53)) & kept)
        ids = values.cast(pl.Int64, strict=False).cast(pl.String)
        if self._example is None and kept.any():
            row = int(kept.arg_true()[0])
            self._example = (values[row], ids[row])
        return ids

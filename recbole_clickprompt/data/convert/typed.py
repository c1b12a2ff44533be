"""Columns of a user's own table as numbers or ids, whatever type the file gives them; and what to say of them."""

from __future__ import annotations

import polars as pl

from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.numbers import ParsedNumbers, parse_numbers
from recbole_clickprompt.errors import DataError

__all__ = ["column_numbers", "counted", "number_notes", "read_ids"]


def column_numbers(values: pl.Series) -> ParsedNumbers:
    """``parse_numbers`` of texts, and the same of a column that holds numbers or booleans: NaN is missing."""
    if values.dtype == pl.String:
        return parse_numbers(values)
    numbers = values.cast(pl.Float64).fill_nan(None)
    infinite = numbers.is_infinite().fill_null(False)
    finite = pl.select(pl.when(~infinite).then(numbers)).to_series().rename(values.name)
    return ParsedNumbers(finite, infinite, pl.repeat(False, len(values), eager=True))


def number_notes(column: str, values: pl.Series, numbers: ParsedNumbers) -> list[str]:
    """How many values of a column of numbers are missing or infinite, and how these are written."""
    infinite = int(numbers.infinite.sum())
    missing = values.filter(numbers.values.is_null() & ~numbers.infinite)
    notes = []
    if len(missing):
        texts = missing.cast(pl.String).str.strip_chars().fill_null("")
        words = ", ".join(word or "empty" for word in sorted(set(texts))[:5])
        notes.append(f"{column}: {counted(len(missing), 'value')} missing ({words})")
    if infinite:
        notes.append(f"{column}: {counted(infinite, 'infinite value')} counted as missing")
    return notes


def counted(number: int, noun: str) -> str:
    """``"1 value is"`` or ``"2 values are"``."""
    return f"{number:,} {noun} is" if number == 1 else f"{number:,} {noun}s are"


def read_ids(table: TextTable, column: str) -> tuple[pl.Series, list[str]]:
    """Ids as texts without blanks around them, and a note where there were some.

    Raises:
        DataError: One is missing, a number that is not whole, or holds a character that would split or merge ids
            in a file.
    """
    values = table.frame[column]
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        raise DataError(f"{table.file}, column {column}: an id must be a text or a number, got {values.dtype}")
    if values.dtype.is_float():
        return _whole_ids(table, column)
    texts = values.cast(pl.String)
    ids = texts.str.strip_chars().replace("", None)
    table.refuse(column, ids.is_null(), "is missing")
    table.refuse(column, ids.str.contains(r"[\x00\t\r\n]"), "holds a NUL, a tab or a line break; remove it")
    changed = int((ids != texts).sum())
    if not changed:
        return ids, []
    merged = texts.n_unique() - ids.n_unique()
    more = f"; {counted(merged, 'id')} now one with another that has none" if merged else ""
    return ids, [f"{column}: blanks around ids were removed, in {changed:,} of {len(ids):,} rows{more}"]


def _whole_ids(table: TextTable, column: str) -> tuple[pl.Series, list[str]]:
    """Ids such as 1.0, as libraries make of whole numbers where one is missing, to 1 as in any other file."""
    values = table.frame[column]
    table.refuse(column, values.is_infinite().fill_null(False), "is infinite, which is no id")
    table.refuse(column, values.is_null() | values.is_nan(), "is missing")
    table.refuse(column, values % 1 != 0, "is no whole number; write ids as whole numbers or texts")
    exact = 2.0 ** (24 if values.dtype == pl.Float32 else 53)
    table.refuse(column, values.abs() >= exact, "may be rounded; write ids as whole numbers or texts")
    ids = values.cast(pl.Int64).cast(pl.String)
    return ids, [f"{column}: ids such as {values[0]} were read as whole numbers, such as {ids[0]}"]

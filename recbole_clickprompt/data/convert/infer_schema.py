"""Guesses from their values what those columns of a user's table are that the user does not name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from recbole_clickprompt.data.convert.order_statistics import StoredNumbers
from recbole_clickprompt.data.convert.typed import MissingNumbers, column_numbers, counted
from recbole_clickprompt.data.numbers import ParsedNumbers, number_text
from recbole_clickprompt.errors import DataError

__all__ = ["Column", "ColumnScan", "field_names"]

_FEW_VALUES = 200  # up to so many, whole numbers are taken for codes: each gets an embedding

_CROWDED = 0.05  # part of the range that nine in ten values take at most, where they are too close to distinguish

_ROLES = ("user_id", "item_id", "label", "rating", "timestamp")

_MOSTLY = 0.9  # part of the values that look like numbers in a column that was meant to be one

_LOOKS_LIKE_A_NUMBER = (
    r"^[-+(]?(?:[$€£¥₹]|[a-z]{3} )? ?[-+]?"
    r"(?:\d+|\d{1,3}(?:[,.' \x{a0}]\d{3})+)(?:[.,]\d+)?"
    r" ?(?:%|[$€£¥₹]|[a-z]{3})?\)?$"
)

_WITHOUT_TEXT = (pl.Object, pl.Binary, pl.Duration)


def field_names(names: Iterable[str], roles: dict[str, str], file: str) -> tuple[dict[str, str], list[str]]:
    """Maps columns to names that are valid in the header of an atomic file; with a note on each changed name.

    Raises:
        DataError: Two columns would have the same name.
    """
    fields = {name: roles.get(name) or re.sub(r"[^\w.-]+", "_", name.strip()) or "column" for name in names}
    notes = []
    # RecBole writes the label into the field of that name, over any values in it
    for name, role in fields.items():
        if name in roles or role not in _ROLES:
            continue
        field = f"{role}_column"
        while field in fields.values():
            field += "_"
        fields[name] = field
        notes.append(f"column {name!r} is called {field}, as {role} is the name of another field")
    for name, field in fields.items():
        same = next((other for other, f in fields.items() if f == field and other != name), None)
        if same is not None:
            raise DataError(f"{file}: columns {same!r} and {name!r} would both be called {field}; rename one")
    return fields, notes


class ColumnScan:
    """Guesses the type of a column from all of its values, batch by batch.

    A column of numbers may contain words for missing ones, such as NA, which become empty cells; next to any other
    text these words are text too.

    Args:
        place: File and column, for messages.
        column: Name of the column.
        dtype: Its type in the file.
        folder: For temporary files.

    Raises:
        DataError: It is no text, no number and no list of either.
    """

    def __init__(self, place: str, column: str, dtype: pl.DataType, folder: Path) -> None:
        inner = dtype.inner if isinstance(dtype, pl.List) else dtype
        if inner.is_nested() or isinstance(inner, _WITHOUT_TEXT):
            raise DataError(f"{place}: {dtype} is no text, number or list of them; leave it out")
        self._place, self._column = place, column
        self._is_list = isinstance(dtype, pl.List)
        self._may_be_number = dtype == pl.String or dtype.is_numeric()
        self._dropped = self._valid = self._invalid = self._like_numbers = 0
        self._invalid_example = ""
        self._missing = MissingNumbers(column)
        self._values: set[float] = set()
        self._numbers = StoredNumbers(folder) if self._may_be_number else None

    def add(self, values: pl.Series) -> None:
        """Adds a batch. Raises DataError where the elements of a list could not be separated again."""
        if self._is_list:
            texts, dropped = _without_missing_elements(values)
            if texts.list.eval(pl.element().str.contains(r"[ \t\r\n]")).list.any().any():
                raise DataError(f"{self._place}: a list with blanks inside its values cannot be kept apart")
            self._dropped += dropped
        if not self._may_be_number:
            return
        numbers = column_numbers(values)
        found = numbers.values.drop_nulls()
        self._valid += len(found)
        self._count_invalid(values, numbers)
        if self._invalid or self._numbers is None:
            self._numbers = None  # it is text
            return
        self._missing.add(values, numbers)
        self._numbers.add(found.to_numpy())
        if len(self._values) <= _FEW_VALUES:
            self._values.update(found.unique().head(_FEW_VALUES + 1))

    def _count_invalid(self, values: pl.Series, numbers: ParsedNumbers) -> None:
        invalid = int(numbers.invalid.sum())
        if invalid and not self._invalid:
            self._invalid_example = values.filter(numbers.invalid)[0]
        self._invalid += invalid
        if values.dtype == pl.String:
            texts = values.str.strip_chars().str.to_lowercase()
            self._like_numbers += int(texts.str.contains(_LOOKS_LIKE_A_NUMBER).sum())

    def guess(self) -> Column:
        """The type of the column; all batches must have been added."""
        if self._is_list:
            notes = [f"{self._column}: {counted(self._dropped, 'element')} missing or infinite and left out"]
            return Column("token_seq", notes if self._dropped else [], _joined_lists)
        if not self._may_be_number or not (self._valid or self._invalid):
            return Column("token", [], _as_texts)
        if self._invalid:
            return Column("token", self._unread_numbers(), _unchanged)
        notes = self._missing.notes()
        if len(self._values) > _FEW_VALUES:
            return Column("float", [*notes, *self._scale_notes()], _as_numbers)
        return Column("token", notes, _as_codes)

    def _unread_numbers(self) -> list[str]:
        """A note where texts such as $1,000.50 and 12 %, or a few others among numbers, make the column text."""
        if not self._like_numbers or self._like_numbers < _MOSTLY * (self._invalid + self._valid):
            return []
        return [
            f"{self._column}: read as text, because of values such as {self._invalid_example!r}; to have numbers, "
            "write them plainly, such as 1000.5, and leave missing ones empty"
        ]

    def _scale_notes(self) -> list[str]:
        """A note on numbers that scaling by the smallest and the largest one leaves close together."""
        numbers = self._numbers
        if numbers is None:
            return []
        low, high = numbers.low, numbers.high
        first, last = (numbers.quantile(part) for part in (0.05, 0.95))
        if last - first > _CROWDED * (high - low):
            return []
        return [
            f"{self._column}: nine in ten values are within {(last - first) / (high - low):.1%} of its range from "
            f"{number_text(low)} to {number_text(high)}, and scaled to 0 to 1 they hardly differ; consider a "
            "logarithm"
        ]


class Column(NamedTuple):
    """How a column is written.

    Attributes:
        kind: ``token``, ``token_seq`` or ``float``.
        notes: What the user should know about it, one sentence each.
        convert: Values of the file to text, or to numbers of a ``float`` field; None where one is missing.
    """

    kind: str
    notes: list[str]
    convert: Callable[[pl.Series], pl.Series]


def _unchanged(values: pl.Series) -> pl.Series:
    return values


def _as_texts(values: pl.Series) -> pl.Series:
    return values.cast(pl.String)


def _as_numbers(values: pl.Series) -> pl.Series:
    return column_numbers(values).values


def _as_codes(values: pl.Series) -> pl.Series:
    has_number = column_numbers(values).values.is_not_null()
    return pl.select(pl.when(has_number).then(values)).to_series().rename(values.name).cast(pl.String)


def _joined_lists(lists: pl.Series) -> pl.Series:
    return _without_missing_elements(lists)[0].list.join(" ")


def _without_missing_elements(lists: pl.Series) -> tuple[pl.Series, int]:
    """Lists as texts without elements that are missing, empty, NaN or infinite, and the number of these."""
    element = pl.element()
    is_value = element.is_not_null() & (element.cast(pl.String) != "")
    if lists.dtype.inner.is_float():  # type: ignore[attr-defined]
        is_value &= element.is_finite()
    kept = lists.list.eval(element.filter(is_value))
    dropped = int(lists.list.len().sum()) - int(kept.list.len().sum())
    return kept.cast(pl.List(pl.String)), dropped

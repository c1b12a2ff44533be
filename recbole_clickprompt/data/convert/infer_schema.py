"""Guesses from their values what those columns of a user's table are that the user does not name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from recbole_clickprompt.data.convert.lists import ListColumn, joined
from recbole_clickprompt.data.convert.order_statistics import StoredNumbers
from recbole_clickprompt.data.convert.typed import MissingNumbers, column_numbers, counted
from recbole_clickprompt.data.numbers import ParsedNumbers, float_codes, number_text
from recbole_clickprompt.errors import DataError

__all__ = ["Column", "ColumnScan", "entity_field_names", "field_names"]

_FEW_VALUES = 200  # up to so many, whole numbers are taken for codes: each gets an embedding

_CROWDED = 0.05  # part of the range that nine in ten values take at most, where they are too close to distinguish

_HEAVY_TAIL = 0.2  # the same, where a logarithm is tried

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
    fields = {name: roles.get(name) or _field_name(name) for name in names}
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


def entity_field_names(names: Iterable[str], source: str, taken: Collection[str]) -> dict[str, str]:
    """The same for a table of users or items: a column or field that another table has begins with ``source``."""
    fields: dict[str, str] = {}
    for name in names:
        field = _field_name(name)
        if field in (*taken, *fields.values(), *_ROLES):
            field = f"{source}_{field}"
        while field in (*taken, *fields.values(), *_ROLES):
            field += "_"
        fields[name] = field
    return fields


def _field_name(column: str) -> str:
    return re.sub(r"[^\w.-]+", "_", column.strip()) or "column"


class ColumnScan:
    """Guesses the type of a column from all of its values, batch by batch.

    A column of numbers may contain words for missing ones, such as NA, which become empty cells; next to any other
    text these words are text too.

    Args:
        place: File and column, for messages.
        column: Name of the column.
        dtype: Its type in the file.
        folder: For temporary files.
        text_only: Numbers, and lists, are texts too.

    Attributes:
        lists: The lists, if it is a column of lists that are not only text.

    Raises:
        DataError: It is no text, no number and no list of either.
    """

    def __init__(
        self, place: str, column: str, dtype: pl.DataType, folder: Path, *, text_only: bool = False
    ) -> None:
        inner = dtype.inner if isinstance(dtype, pl.List) else dtype
        if inner.is_nested() or isinstance(inner, _WITHOUT_TEXT):
            raise DataError(f"{place}: {dtype} is no text, number or list of them; leave it out with --drop")
        self._column, self._is_list = column, isinstance(dtype, pl.List)
        self.lists = ListColumn() if self._is_list and not text_only else None
        self._may_be_number = (dtype == pl.String or dtype.is_numeric()) and not text_only
        self._valid = self._invalid = self._like_numbers = 0
        self._invalid_example = ""
        self._missing = MissingNumbers(column)
        self._values: set[float] = set()
        self._numbers = StoredNumbers(folder) if self._may_be_number else None

    def add(self, values: pl.Series) -> None:
        """Adds a batch."""
        if self.lists:
            self.lists.add(values)
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

    def guess(self, separator: str) -> Column:
        """The type of the column; all batches must have been added. ``separator`` separates elements of lists."""
        if self.lists:
            dropped = self.lists.dropped
            notes = [f"{self._column}: {counted(dropped, 'element')} missing or infinite and left out"]
            return Column("token_seq", notes if dropped else [], partial(joined, separator=separator))
        if self._is_list:
            return Column("token", [], partial(joined, separator=", "))
        if not self._may_be_number or not (self._valid or self._invalid):
            return Column("token", [], _as_texts)
        if self._invalid:
            return Column("token", self._unread_numbers(), _unchanged)
        notes = self._missing.notes()
        if len(self._values) > _FEW_VALUES:
            log, scaling = self._scaling()
            return Column("float", [*notes, *scaling], _as_numbers, log)
        return Column("token", notes, _as_codes)

    def _unread_numbers(self) -> list[str]:
        """A note where texts such as $1,000.50 and 12 %, or a few others among numbers, make the column text."""
        if not self._like_numbers or self._like_numbers < _MOSTLY * (self._invalid + self._valid):
            return []
        return [
            f"{self._column}: read as text, because of values such as {self._invalid_example!r}; to have numbers, "
            "write them plainly, such as 1000.5, and leave missing ones empty"
        ]

    def _scaling(self) -> tuple[bool, list[str]]:
        """Whether to scale the logarithm of the numbers; and a note if they have a heavy tail.

        Scaling by the smallest and the largest number leaves most numbers close together where a few are far
        larger; their logarithm is scaled if nine in ten of them then take at least twice as much of the range.
        """
        numbers = self._numbers
        if numbers is None:
            return False, []
        low, high = numbers.low, numbers.high
        first, last = (numbers.quantile(part) for part in (0.05, 0.95))
        spread = (last - first) / (high - low)
        if spread > _HEAVY_TAIL:
            return False, []
        logs = [math.copysign(math.log1p(abs(number)), number) for number in (low, first, last, high)]
        log = (logs[2] - logs[1]) / (logs[3] - logs[0]) >= 2 * spread
        if not log and spread > _CROWDED:
            return False, []
        remedy = "their logarithm is scaled" if log else "scaled to 0 to 1 they hardly differ"
        return log, [
            f"{self._column}: nine in ten values are within {spread:.1%} of its range from {number_text(low)} to "
            f"{number_text(high)}; {remedy}"
        ]


class Column(NamedTuple):
    """How a column is written.

    Attributes:
        kind: ``token``, ``token_seq`` or ``float``.
        notes: What the user should know about it, one sentence each.
        convert: Values of the file to text, or to numbers of a ``float`` field; None where one is missing.
        log: Whether the logarithm of its numbers is to be scaled.
    """

    kind: str
    notes: list[str]
    convert: Callable[[pl.Series], pl.Series]
    log: bool = False


def _unchanged(values: pl.Series) -> pl.Series:
    return values


def _as_texts(values: pl.Series) -> pl.Series:
    return values.cast(pl.String)


def _as_numbers(values: pl.Series) -> pl.Series:
    return column_numbers(values).values


def _as_codes(values: pl.Series) -> pl.Series:
    has_number = column_numbers(values).values.is_not_null()
    codes = float_codes(values) if values.dtype.is_float() else values.cast(pl.String)
    return pl.select(pl.when(has_number).then(codes)).to_series().rename(values.name)

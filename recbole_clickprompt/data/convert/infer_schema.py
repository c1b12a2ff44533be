"""What the columns of a user's own table are, guessed from their values, beside those that the user names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from recbole_clickprompt.data.convert.typed import column_numbers, counted, number_notes
from recbole_clickprompt.data.numbers import ParsedNumbers, number_text
from recbole_clickprompt.errors import DataError

__all__ = ["Column", "field_names", "guess_column", "guess_source"]

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


def field_names(names: Iterable[str], roles: dict[str, str], path: Path) -> tuple[dict[str, str], list[str]]:
    """Columns to the names that a header of an atomic file can hold, and a note on each that is not its own.

    Raises:
        DataError: Two would be called alike.
    """
    fields = {name: roles.get(name) or re.sub(r"[^\w.-]+", "_", name.strip()) or "column" for name in names}
    notes = []
    # RecBole and a run write the label into the field of that name, whatever it held
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
            raise DataError(f"{path}: columns {same!r} and {name!r} would both be called {field}; rename one")
    return fields, notes


class Column(NamedTuple):
    """A column as it is written.

    Attributes:
        values: Text, or numbers of a ``float`` field; None where one is missing.
        kind: ``token``, ``token_seq`` or ``float``.
        notes: What the user should know of it.
    """

    values: pl.Series
    kind: str
    notes: list[str]


def guess_column(values: pl.Series, path: Path) -> Column:
    """A column as numbers or text, and its type.

    Numbers with words for missing ones among them, such as NA, are numbers, and there the words are empty cells;
    in a column with any other text they are text.

    Raises:
        DataError: It is neither, nor a list of either.
    """
    dtype, place = values.dtype, f"{path}, column {values.name}"
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    if inner.is_nested() or isinstance(inner, _WITHOUT_TEXT):
        raise DataError(f"{place}: {dtype} is no text, number or list of them; leave it out")
    if isinstance(dtype, pl.List):
        texts, notes = _without_missing_elements(values)
        if texts.list.eval(pl.element().str.contains(r"[ \t\r\n]")).list.any().any():
            raise DataError(f"{place}: a list with blanks inside its values cannot be kept apart")
        return Column(texts.list.join(" "), "token_seq", notes)
    if not (dtype == pl.String or dtype.is_numeric()):
        return Column(values.cast(pl.String), "token", [])
    numbers = column_numbers(values)
    if numbers.invalid.any():
        return Column(values, "token", _unread_numbers(values, numbers))
    if not numbers.values.count():
        return Column(values.cast(pl.String), "token", [])
    notes = number_notes(values.name, values, numbers)
    if numbers.values.drop_nulls().n_unique() > _FEW_VALUES:
        return Column(numbers.values, "float", [*notes, *_scale_notes(numbers.values)])
    codes = pl.select(pl.when(numbers.values.is_not_null()).then(values)).to_series().rename(values.name)
    return Column(codes.cast(pl.String), "token", notes)


def _without_missing_elements(lists: pl.Series) -> tuple[pl.Series, list[str]]:
    """Lists as texts without elements that are missing, empty, NaN or infinite, and a note on their number."""
    element = pl.element()
    is_there = element.is_not_null() & (element.cast(pl.String) != "")
    if lists.dtype.inner.is_float():  # type: ignore[attr-defined]
        is_there &= element.is_finite()
    kept = lists.list.eval(element.filter(is_there))
    lacking = int(lists.list.len().sum()) - int(kept.list.len().sum())
    notes = [f"{lists.name}: {counted(lacking, 'element')} missing or infinite and left out"] if lacking else []
    return kept.cast(pl.List(pl.String)), notes


def _unread_numbers(texts: pl.Series, numbers: ParsedNumbers) -> list[str]:
    """That texts such as $1,000.50, 12 % and 0,5 are no numbers, or that a few others make text of numbers."""
    invalid = numbers.invalid
    like_numbers = int(texts.str.strip_chars().str.to_lowercase().str.contains(_LOOKS_LIKE_A_NUMBER).sum())
    if not like_numbers or like_numbers < _MOSTLY * (int(invalid.sum()) + numbers.values.count()):
        return []
    return [
        f"{texts.name}: read as text, because of values such as {texts.filter(invalid)[0]!r}; to have numbers, "
        "write them plainly, such as 1000.5, and leave missing ones empty"
    ]


def _scale_notes(numbers: pl.Series) -> list[str]:
    """Of numbers that scaling by the least and the largest one leaves close together."""
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    first, last = (float(numbers.quantile(part)) for part in (0.05, 0.95))  # type: ignore[arg-type]
    if last - first > _CROWDED * (high - low):
        return []
    return [
        f"{numbers.name}: nine in ten values are within {(last - first) / (high - low):.1%} of its range from "
        f"{number_text(low)} to {number_text(high)}, and scaled to 0 to 1 they hardly differ; consider a logarithm"
    ]


def guess_source(frame: pl.DataFrame, field: str) -> str:
    """``user`` or ``item``, where each of them has one value of the field, tried by which there are fewer of; else
    ``inter``, as for ids that come once each and for a constant, which tell nothing.
    """
    if frame[field].n_unique() == 1:
        return "inter"
    number = {source: frame[f"{source}_id"].n_unique() for source in ("user", "item")}
    for source in sorted(number, key=lambda source: number[source]):
        pairs = frame.select(f"{source}_id", field).n_unique()
        if pairs == number[source] < len(frame):
            return source
    return "inter"

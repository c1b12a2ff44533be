"""What the columns of a user's own table are: what must be there is read, what else there is is guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.text import number_text
from recbole_clickprompt.errors import DataError

__all__ = ["field_names", "find_threshold", "guess_source", "guess_types", "read_labels", "read_times"]

_FEW_VALUES = 200  # up to so many, whole numbers are taken for codes: each gets an embedding

_WITHOUT_TEXT = (pl.List, pl.Array, pl.Struct, pl.Object, pl.Binary, pl.Duration)


def read_labels(table: TextTable, column: str) -> pl.Series:
    """Labels or ratings as float64; true and false are 1 and 0.

    Raises:
        DataError: One is no number.
    """
    values = table.frame[column]
    if values.dtype == pl.String:
        words = values.str.strip_chars().str.to_lowercase().replace({"true": "1", "false": "0"})
        table = TextTable(table.frame.with_columns(words.alias(column)), table.file, table.line_of)
        return table.with_numbers(pl.Float64, column).frame[column]
    if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        raise DataError(f"{table.file}, column {column}: a label must be a number, got {values.dtype}")
    numbers = values.cast(pl.Float64)
    table.refuse(column, ~numbers.is_finite(), "is no number")
    return numbers


def find_threshold(table: TextTable, column: str, labels: pl.Series, threshold: float | None) -> float | None:
    """From where on a row is positive: what the user said, else 4 of 5 stars; None where labels are 0 and 1.

    Raises:
        DataError: Other ratings want a threshold, or all rows are on one side of it.
    """
    if threshold is None and not labels.is_in([0.0, 1.0]).all():
        if not labels.is_between(0.5, 5).all():
            low, high = (number_text(float(end)) for end in labels.sort()[[0, -1]])
            raise DataError(
                f"{table.file}, column {column}: values from {low} to {high} are no 0 and 1 and no 1 to 5 stars; "
                "say with --threshold from which value on the label is 1"
            )
        threshold = 4.0
    positive = int((labels >= (0.5 if threshold is None else threshold)).sum())
    if not 0 < positive < len(labels):
        raise DataError(
            f"{table.file}, column {column}: {positive} of {len(labels)} rows are positive; both are needed"
        )
    return threshold


def read_times(table: TextTable, column: str) -> pl.Series:
    """Numbers as they are, and times in seconds since 1970.

    Raises:
        DataError: One is missing or neither.
    """
    values = table.frame[column]
    table.refuse_missing(column)
    if values.dtype.is_numeric():
        return _checked_times(table, column, values)
    if values.dtype == pl.String:
        texts = values.str.strip_chars()
        numbers = texts.cast(pl.Float64, strict=False)
        if not numbers.is_null().any():
            is_whole = bool(texts.str.contains(r"^[-+]?\d+$").all())
            return _checked_times(table, column, texts.cast(pl.Int64, strict=False) if is_whole else numbers)
        times = values.str.to_datetime(strict=False, time_unit="ms", time_zone="UTC", ambiguous="null")
        table.refuse(column, times.is_null(), "is no number and no time such as 2024-05-31 12:00:00")
        return times.dt.epoch("s")
    if values.dtype in (pl.Date, pl.Datetime):
        return values.cast(pl.Datetime("ms")).dt.epoch("s")
    raise DataError(f"{table.file}, column {column}: {values.dtype} is no time")


def _checked_times(table: TextTable, column: str, numbers: pl.Series) -> pl.Series:
    """Whole numbers as int64, so that none is rounded, and others as they are."""
    if numbers.dtype.is_integer():
        whole = numbers.cast(pl.Int64, strict=False)
        table.refuse(column, whole.is_null(), "is beyond 64 bits")
        return whole
    table.refuse(column, ~(numbers.cast(pl.Float64).abs() < 2.0**63), "is no time in seconds since 1970")
    return numbers


def field_names(names: Iterable[str], roles: dict[str, str], path: Path) -> dict[str, str]:
    """Columns to the names that a header of an atomic file can hold.

    Raises:
        DataError: Two would be called alike.
    """
    fields = {name: roles.get(name) or re.sub(r"[^\w.-]+", "_", name.strip()) or "column" for name in names}
    for name, field in fields.items():
        same = next((other for other, f in fields.items() if f == field and other != name), None)
        if same is not None:
            raise DataError(f"{path}: columns {same!r} and {name!r} would both be called {field}; rename one")
    return fields


def guess_types(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """The columns as numbers or text, and the type of each field.

    Raises:
        DataError: A column is neither, nor a list of either.
    """
    types = {}
    for field, dtype in frame.schema.items():
        values = frame[field]
        inner = dtype.inner if isinstance(dtype, pl.List) else dtype
        if isinstance(inner, _WITHOUT_TEXT):
            raise DataError(f"{path}, column {field}: {dtype} is no text, number or list of them; leave it out")
        if isinstance(dtype, pl.List):
            if values.list.eval(pl.element().cast(pl.String).str.contains(" ")).list.any().any():
                raise DataError(
                    f"{path}, column {field}: a list with blanks inside its values cannot be kept apart"
                )
            frame = frame.with_columns(values.cast(pl.List(pl.String)).list.join(" "))
            types[field] = "token_seq"
        else:
            types[field] = "float" if _is_float(values) else "token"
            frame = frame.with_columns(values if types[field] == "float" else values.cast(pl.String))
    return frame, types


def _is_float(values: pl.Series) -> bool:
    if values.dtype == pl.Boolean or values.dtype.is_temporal():
        return False
    values = values.drop_nulls()
    numbers = values.cast(pl.Float64, strict=False)
    if numbers.is_null().any():
        return False
    return len(numbers) > 0 and bool(numbers.is_finite().all()) and numbers.n_unique() > _FEW_VALUES


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

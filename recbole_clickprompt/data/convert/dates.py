"""Parses dates written as text; whether the day or the month comes first is read from the column or an option."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Literal, TypeAlias

import pandas as pd
import polars as pl

from recbole_clickprompt.data.convert.digits import form_width, pad_digits
from recbole_clickprompt.data.convert.spool import NumberSpool
from recbole_clickprompt.data.convert.table import Faults, TextTable
from recbole_clickprompt.data.numbers import MISSING_NUMBERS
from recbole_clickprompt.errors import DataError, SettingError

__all__ = ["Tables", "parse_dates", "parse_format"]

Tables: TypeAlias = Callable[[], Iterator[TextTable]]  # reads a table from its beginning, batch by batch

_YEAR_FIRST = r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})"
_YEAR_LAST = r"(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.](?P<year>\d{4})"
_CLOCK = (
    r"(?:(?:T| |, *) *(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second_of>\d\d)(?P<fraction>[.,]\d{1,9})?)?"
    r" *(?P<half>[AaPp]\.?[Mm]\.?)?)?"
)
_ZONE = r" *(?P<zone>Z|UTC|GMT|[-+]\d\d(?::?\d\d)?)?"
_DATE = f"^(?:{_YEAR_FIRST}|{_YEAR_LAST}){_CLOCK}{_ZONE}$"


def parse_format(tables: Tables, column: str, form: str, numbers: NumberSpool) -> str:
    """Writes times by codes of ``strptime``, in UTC, to ``numbers``; None where one is missing.

    Returns:
        Their unit, ``"ns"``, or ``"us"`` where a year is before 1678 or after 2261.

    Raises:
        DataError: A value that is no time of this form.
        SettingError: ``form`` is none.
    """
    if "%" not in form:  # pandas takes words such as "mixed", which guess
        raise SettingError(f"--date-format must hold codes such as %Y-%m-%d, got {form!r}")
    width = form_width(form)
    padded = Faults(column, f"is no time of the form {form}, which has {width} digits")
    wrong = Faults(column, f"is no time of the form {form}")
    unit: Literal["us", "ns"] = "ns"
    for table in tables():
        times = _by_format(table, column, form, padded, wrong)
        if times.dtype == pl.Datetime("us"):
            unit = "us"
            break
        numbers.append(times.dt.epoch("ns"))
    if unit == "us":
        numbers.restart()
        padded, wrong = replace(padded, number=0), replace(wrong, number=0)
        for table in tables():
            numbers.append(_by_format(table, column, form, padded, wrong).cast(pl.Datetime("us")).dt.epoch("us"))
    padded.check()
    wrong.check()
    return unit


def _by_format(table: TextTable, column: str, form: str, padded: Faults, wrong: Faults) -> pl.Series:
    """Times of a batch, in microseconds where a year needs it, else in nanoseconds."""
    values = table.frame[column]
    if values.dtype.is_float():
        values = values.fill_nan(None)
    texts = values.cast(pl.String).str.strip_chars()
    if "." not in form:  # a column of whole numbers with a gap is often written with a decimal point
        texts = texts.str.replace(r"^(\d+)\.0$", "$1")
    texts = pad_digits(table, _without_missing(texts), form, padded)
    try:
        found = pd.to_datetime(pd.Series(texts.to_list(), dtype=object), format=form, utc=True, errors="coerce")
    except ValueError as error:
        raise SettingError(f"--date-format {form!r}: {error}") from error
    nanoseconds = pl.Series(column, found.dt.tz_localize(None).to_numpy()).cast(pl.Datetime("ns"))
    times = _with_far_years(nanoseconds, texts, form)
    wrong.add(table, times.is_null() & texts.is_not_null())
    return times


def _with_far_years(times: pl.Series, texts: pl.Series, form: str) -> pl.Series:
    """``times`` with those before 1678 and after 2261 that pandas, which counts nanoseconds, leaves out."""
    unread = texts.filter(times.is_null()).drop_nulls().unique()
    far = {text: time for text in unread if (time := _far_time(text, form))}
    if not far:
        return times
    others = texts.replace_strict(far, default=None, return_dtype=pl.Datetime("us"))
    return times.cast(pl.Datetime("us")).fill_null(others)


def _far_time(text: str, form: str) -> datetime | None:
    try:
        time = datetime.strptime(text, form)
        utc = time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        return None
    return None if 1678 < utc.year < 2262 else utc


def parse_dates(
    tables: Tables, column: str, day_first: bool | None, numbers: NumberSpool
) -> tuple[Literal["us", "ns"], str]:
    """Writes dates such as 2024-05-31 and 31.5.2024, with or without a clock, to ``numbers``.

    Args:
        tables: Reads the table from its beginning.
        column: Its column of texts; a word for a missing number stands for a missing time.
        day_first: How dates with the year at the end begin; None where the column must show it.
        numbers: Gets the times since 1970.

    Returns:
        The unit of the times, and how they were written.

    Raises:
        DataError: A value is no date, or it cannot be known whether the day or the month comes first.
    """
    scan = _DateScan(column)
    for table in tables():
        scan.add(table)
    scan.no_date.check()
    form = "dates"
    if day_first is not None and scan.year_first and not scan.year_last:
        raise DataError(
            f"{scan.file}, column {column}: --{'day' if day_first else 'month'}-first has no effect, as dates "
            f"such as {scan.example!r} begin with the year; leave it out, or say how with --date-format"
        )
    if scan.year_last:
        day_first = scan.is_day_first() if day_first is None else day_first
        form = f"dates, the {'day' if day_first else 'month'} first"
    invalid = Faults(column, f"is no valid time ({form})")
    for table in tables():
        parts, is_date = _parts(table, column)
        times = _times(parts, bool(day_first), scan.unit).rename(column)
        invalid.add(table, times.is_null() & is_date)
        numbers.append(times.dt.epoch(scan.unit))
    invalid.check()
    return scan.unit, form


def _parts(table: TextTable, column: str) -> tuple[pl.DataFrame, pl.Series]:
    """The groups of ``_DATE`` in each text, and whether it is a date at all; None where it is missing."""
    texts = _without_missing(table.frame[column].str.strip_chars())
    return texts.str.extract_groups(_DATE).struct.unnest(), texts.str.contains(_DATE)


class _DateScan:
    """What the dates of a column look like.

    Attributes:
        file: Name of the file.
        no_date: Values that are no date.
        example: The first date.
        year_first: A date begins with the year.
        year_last: Place and text of the first date that ends with the year.
        day: Line and text of the first date that must begin with the day.
        month: Line and text of the first date that must begin with the month.
        unit: Nanoseconds where a time has more than six digits after the second, else microseconds.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self.no_date = Faults(
            column, "is no number and no time such as 2024-05-31 12:00:00; say how with --date-format"
        )
        self.file, self.example = "", ""
        self.year_first = False
        self.year_last: tuple[str, str] | None = None
        self.day: tuple[str, int, str] | None = None
        self.month: tuple[str, int, str] | None = None
        self.unit: Literal["us", "ns"] = "us"

    def add(self, table: TextTable) -> None:
        """Adds a batch of rows."""
        parts, is_date = _parts(table, self._column)
        texts = table.frame[self._column]
        self.file = table.file
        self.no_date.add(table, ~is_date)
        if not self.example and is_date.any():
            self.example = texts.str.strip_chars()[int(is_date.fill_null(False).arg_true()[0])]
        self.year_first |= bool(parts["y"].is_not_null().any())
        ends_with_year = parts["year"].is_not_null().arg_true()
        if self.year_last is None and len(ends_with_year):
            row = int(ends_with_year[0])
            self.year_last = (table.place(row, self._column), texts[row])
        above = parts.select(pl.col("first", "second").cast(pl.Int64) > 12)
        self.day = self.day or self._first(table, above["first"])
        self.month = self.month or self._first(table, above["second"])
        if (parts["fraction"].str.len_chars() > len(".123456")).any():
            self.unit = "ns"

    def is_day_first(self) -> bool:
        """Raises DataError where the dates show both orders, or neither."""
        if self.day and self.month:
            raise DataError(
                f"{self.day[0]}: {self.day[2]!r} begins with the day, but line {self.month[1]}, "
                f"{self.month[2]!r}, with the month; write all alike"
            )
        if not (self.day or self.month):
            place, text = self.year_last or ("", "")
            raise DataError(
                f"{place}: dates such as {text!r} may begin with the day or the month, as "
                "none has a number above 12; say which with --day-first or --month-first, or with --date-format"
            )
        return self.day is not None

    def _first(self, table: TextTable, found: pl.Series) -> tuple[str, int, str] | None:
        rows = found.fill_null(False).arg_true()
        if not len(rows):
            return None
        row = int(rows[0])
        return table.place(row, self._column), table.line_of(row), table.frame[self._column][row]


def _without_missing(texts: pl.Series) -> pl.Series:
    missing = texts.str.to_lowercase().is_in(list(MISSING_NUMBERS))
    return pl.select(pl.when(~missing).then(texts)).to_series().rename(texts.name)


def _times(parts: pl.DataFrame, day_first: bool, unit: Literal["us", "ns"]) -> pl.Series:
    """Times in UTC; None for one that the calendar or the clock does not have."""
    day, month = ("first", "second") if day_first else ("second", "first")
    numbers = [("m", month), ("d", day), ("hour",), ("minute",), ("second_of",)]
    zone = pl.col("zone").fill_null("Z").str.replace("^(Z|UTC|GMT)$", "+0000").str.replace(":", "")
    text = pl.concat_str(
        pl.coalesce("y", "year"),
        *(pl.coalesce(*names, pl.lit("0")).str.zfill(2) for names in numbers),
        zone.str.pad_end(5, "0"),
        pl.col("fraction").fill_null(".0").str.replace(",", ".", literal=True),
        separator=" ",
    )
    half = pl.col("half").str.slice(0, 1) + "M"

    def read(text: pl.Expr, form: str) -> pl.Expr:
        return text.str.to_datetime(form, time_unit=unit, strict=False)

    whole_day, half_day = read(text, "%Y %m %d %H %M %S %z %.f"), read(text + half, "%Y %m %d %I %M %S %z %.f%p")
    times = parts.select(pl.when(pl.col("half").is_null()).then(whole_day).otherwise(half_day)).to_series()
    return times.dt.replace_time_zone(None)

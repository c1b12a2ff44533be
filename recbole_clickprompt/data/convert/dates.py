"""Dates written as text; whether the day or the month comes first is read from the column, or asked."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Literal

import pandas as pd
import polars as pl

from recbole_clickprompt.data.convert.digits import pad_digits
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.numbers import MISSING_NUMBERS
from recbole_clickprompt.errors import DataError, SettingError

__all__ = ["parse_dates", "parse_format"]

_YEAR_FIRST = r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})"
_YEAR_LAST = r"(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.](?P<year>\d{4})"
_CLOCK = (
    r"(?:(?:T| |, *) *(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second_of>\d\d)(?P<fraction>[.,]\d{1,9})?)?"
    r" *(?P<half>[AaPp]\.?[Mm]\.?)?)?"
)
_ZONE = r" *(?P<zone>Z|UTC|GMT|[-+]\d\d(?::?\d\d)?)?"
_DATE = f"^(?:{_YEAR_FIRST}|{_YEAR_LAST}){_CLOCK}{_ZONE}$"


def parse_format(table: TextTable, column: str, form: str) -> pl.Series:
    """Times by codes of ``strptime``, in UTC; None where one is missing.

    Raises:
        DataError: A value that is no time of this form.
        SettingError: ``form`` is none.
    """
    if "%" not in form:  # pandas takes words such as "mixed", which guess
        raise SettingError(f"--date-format must hold codes such as %Y-%m-%d, got {form!r}")
    values = table.frame[column]
    if values.dtype.is_float():
        values = values.fill_nan(None)
    texts = values.cast(pl.String).str.strip_chars()
    if "." not in form:  # a column of whole numbers with a gap is often written with a decimal point
        texts = texts.str.replace(r"^(\d+)\.0$", "$1")
    texts = pad_digits(table, _without_missing(texts), form)
    try:
        found = pd.to_datetime(pd.Series(texts.to_list(), dtype=object), format=form, utc=True, errors="coerce")
    except ValueError as error:
        raise SettingError(f"--date-format {form!r}: {error}") from error
    times = _with_far_years(pl.Series(column, found.dt.tz_localize(None).to_numpy()), texts, form)
    table.refuse(column, times.is_null() & texts.is_not_null(), f"is no time of the form {form}")
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


def parse_dates(table: TextTable, column: str, day_first: bool | None) -> tuple[pl.Series, str]:
    """Times of dates such as 2024-05-31 and 31.5.2024, with or without a clock, and how they were read.

    Args:
        table: The table.
        column: Its column of texts; None in the result where one stands for a missing time.
        day_first: How dates with the year at the end begin; None where the column must show it.

    Raises:
        DataError: A value is no date, or it cannot be known whether the day or the month comes first.
    """
    texts = _without_missing(table.frame[column].str.strip_chars())
    parts = texts.str.extract_groups(_DATE).struct.unnest()
    is_date = texts.str.contains(_DATE)
    table.refuse(
        column, ~is_date, "is no number and no time such as 2024-05-31 12:00:00; say how with --date-format"
    )
    form = "dates"
    if day_first is not None and parts["y"].is_not_null().any() and parts["year"].is_null().all():
        raise DataError(
            f"{table.file}, column {column}: --{'day' if day_first else 'month'}-first has no effect, as dates "
            f"such as {texts.drop_nulls()[0]!r} begin with the year; leave it out, or say how with --date-format"
        )
    if parts["year"].is_not_null().any():
        day_first = _is_day_first(table, column, parts) if day_first is None else day_first
        form = f"dates, the {'day' if day_first else 'month'} first"
    times = _times(parts, bool(day_first)).rename(column)
    table.refuse(column, times.is_null() & is_date, f"is no valid time ({form})")
    return times, form


def _without_missing(texts: pl.Series) -> pl.Series:
    missing = texts.str.to_lowercase().is_in(list(MISSING_NUMBERS))
    return pl.select(pl.when(~missing).then(texts)).to_series().rename(texts.name)


def _is_day_first(table: TextTable, column: str, parts: pl.DataFrame) -> bool:
    above = parts.select(pl.col("first", "second").cast(pl.Int64) > 12)
    day_first, month_first = above["first"].any(), above["second"].any()
    texts = table.frame[column]
    if day_first and month_first:
        row, other = int(above["first"].arg_true()[0]), int(above["second"].arg_true()[0])
        raise DataError(
            f"{table.place(row, column)}: {texts[row]!r} begins with the day, but line {table.line_of(other)}, "
            f"{texts[other]!r}, with the month; write all alike"
        )
    if not (day_first or month_first):
        row = int(parts["year"].is_not_null().arg_true()[0])
        raise DataError(
            f"{table.place(row, column)}: dates such as {texts[row]!r} may begin with the day or the month, as "
            "none has a number above 12; say which with --day-first or --month-first, or with --date-format"
        )
    return bool(day_first)


def _times(parts: pl.DataFrame, day_first: bool) -> pl.Series:
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
    unit: Literal["us", "ns"] = "ns" if (parts["fraction"].str.len_chars() > len(".123456")).any() else "us"

    def read(text: pl.Expr, form: str) -> pl.Expr:
        return text.str.to_datetime(form, time_unit=unit, strict=False)

    whole_day, half_day = read(text, "%Y %m %d %H %M %S %z %.f"), read(text + half, "%Y %m %d %I %M %S %z %.f%p")
    times = parts.select(pl.when(pl.col("half").is_null()).then(whole_day).otherwise(half_day)).to_series()
    return times.dt.replace_time_zone(None)

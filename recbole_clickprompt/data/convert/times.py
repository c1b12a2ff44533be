"""Times of a user's own table, to seconds since 1970 in UTC; what can be read in two ways is refused."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.dates import parse_dates, parse_format
from recbole_clickprompt.data.convert.digits import refuse_digits_of_dates
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.typed import column_numbers, counted
from recbole_clickprompt.errors import DataError

__all__ = ["Times", "read_times", "shown", "time_notes"]

# A number below the limit is in the unit: seconds up to the year 5138, the others from March 1973 on
_LIMITS = (1e11, 1e14, 1e17, 2.0**63)
_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_1980 = 315_532_800


class Times(NamedTuple):
    """A column of times.

    Attributes:
        seconds: ``(rows,)`` int64, or float64 where some have a fraction; None where a time is missing.
        form: How they were written, such as ``"dates, the day first"``.
        merged: How many different times are no longer different as seconds in 64 bits.
    """

    seconds: pl.Series
    form: str
    merged: int = 0


def read_times(
    table: TextTable, column: str, *, date_format: str | None = None, day_first: bool | None = None
) -> Times:
    """Dates, numbers since 1970, or what ``date_format`` says; a time without a zone is taken for UTC.

    Args:
        table: The table.
        column: Its column of times.
        date_format: Codes of ``strptime``.
        day_first: How dates such as 1/2/2018 begin; None where the column must show it.

    Raises:
        DataError: A value is no time, is infinite, or can be read in two ways.
        SettingError: ``date_format`` is none.
    """
    values, place = table.frame[column], f"{table.file}, column {column}"
    option = {True: "--day-first", False: "--month-first", None: ""}[day_first]
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    if isinstance(values.dtype, pl.Datetime):
        if option or date_format is not None:
            raise DataError(f"{place}: {option or '--date-format'} has no effect on {values.dtype}; leave it out")
        return _of_datetimes(values, "dates")
    if not (values.dtype.is_numeric() or values.dtype in (pl.String, pl.Null)):
        raise DataError(f"{place}: {values.dtype} is no time")
    if date_format is not None:
        return _of_datetimes(parse_format(table, column, date_format), date_format)
    numbers = column_numbers(values)
    if numbers.invalid.any():
        return _of_datetimes(*parse_dates(table, column, day_first))
    table.refuse(column, numbers.infinite, "is infinite, which is no time")
    if option:
        raise DataError(
            f"{place}: {option} has no effect on numbers; leave it out, or say how dates are written with "
            "--date-format"
        )
    return _since_1970(table, column, numbers.values)


def _of_datetimes(times: pl.Series, form: str) -> Times:
    unit = times.dtype.time_unit  # type: ignore[attr-defined]
    return _in_seconds(times.dt.epoch(unit), {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit], form)


def _in_seconds(numbers: pl.Series, per_second: int, form: str) -> Times:
    """Whole seconds where all are whole, else with their fraction."""
    if per_second == 1:
        return Times(numbers, form)
    if not (numbers % per_second != 0).any():
        return Times(numbers // per_second, form)
    # Nanoseconds have more digits than a float: the whole seconds are split off before anything is rounded
    seconds = (numbers // per_second).cast(pl.Float64) + (numbers % per_second) / per_second
    return Times(seconds, form, numbers.n_unique() - seconds.n_unique())


def _since_1970(table: TextTable, column: str, numbers: pl.Series) -> Times:
    refuse_digits_of_dates(table, column, numbers)
    sizes = numbers.abs()
    table.refuse(column, sizes >= _LIMITS[-1], "is beyond 64 bits, which is no time")
    number = sum(int((sizes >= limit).any()) for limit in _LIMITS[:-1])
    unit, per_second = list(_UNITS.items())[number]
    if number:
        too_small = (sizes < _LIMITS[number - 1]) & (sizes > 0)
        table.refuse(column, too_small, f"is too small for {unit} since 1970, which others are; write all alike")
    return _in_seconds(_exactly(table.frame[column], numbers), per_second, f"{unit} since 1970")


def _exactly(values: pl.Series, numbers: pl.Series) -> pl.Series:
    """Whole numbers as int64, so that none is rounded, and others as they are."""
    if values.dtype == pl.String:
        values = values.str.strip_chars().str.replace(r"\.0*$", "")
    elif not values.dtype.is_integer():
        return numbers
    whole = values.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == numbers.null_count() else numbers


def time_notes(column: str, times: Times) -> list[str]:
    """What is odd about times, of which none is missing."""
    notes, seconds = [], times.seconds
    early, late = int((seconds < _1980).sum()), int((seconds > time.time() + 86400).sum())
    if early:
        notes.append(f"{column}: {counted(early, 'time')} before 1980, the first {shown(seconds.min())}")
    if late:
        notes.append(f"{column}: {counted(late, 'time')} in the future, the last {shown(seconds.max())}")
    if times.merged:
        notes.append(f"{column}: {counted(times.merged, 'time')} the same as another to a microsecond")
    return notes


def shown(seconds: object) -> str:
    """``"2018-01-01 10:00:00"``, of any year."""
    return str(np.datetime64(math.floor(float(str(seconds))), "s")).replace("T", " ")

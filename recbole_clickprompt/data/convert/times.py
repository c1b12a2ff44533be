"""Times of a user's table as seconds since 1970 in UTC; ambiguous ones are refused."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.dates import Tables, parse_dates, parse_format
from recbole_clickprompt.data.convert.digits import DigitDates
from recbole_clickprompt.data.convert.distinct import DistinctValues, hash_columns
from recbole_clickprompt.data.convert.spool import NumberSpool
from recbole_clickprompt.data.convert.table import Faults, TextTable
from recbole_clickprompt.data.convert.typed import column_numbers, counted
from recbole_clickprompt.errors import DataError

__all__ = ["TimeRange", "Times", "read_times", "shown"]

# Upper limits of the numbers in each unit: seconds up to the year 5138, the others from March 1973 on
_LIMITS = (1e11, 1e14, 1e17, 2.0**63)
_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_1980 = 315_532_800


@dataclass(frozen=True)
class Times:
    """A column of times, on disk.

    Attributes:
        numbers: Times since 1970, in the batches of the table; None where a time is missing.
        per_second: Their unit.
        form: How they were written, such as ``"dates, the day first"``.
        is_whole: All are whole seconds.
        merged: How many different times are no longer different as seconds in 64 bits.
    """

    numbers: NumberSpool
    per_second: int
    form: str
    is_whole: bool = True
    merged: int = 0

    def seconds(self, numbers: pl.Series) -> pl.Series:
        """Numbers of a batch as seconds, ``(rows,)``: whole ones where all are whole, else with their fraction."""
        if self.per_second == 1:
            return numbers
        if self.is_whole:
            return numbers // self.per_second
        # Nanoseconds have more digits than a float: the whole seconds are split off before anything is rounded
        return (numbers // self.per_second).cast(pl.Float64) + (numbers % self.per_second) / self.per_second

    def batches(self) -> Iterator[pl.Series]:
        """``seconds`` of each batch of the table."""
        return map(self.seconds, self.numbers.batches())


def read_times(
    tables: Tables,
    column: str,
    folder: Path,
    *,
    date_format: str | None = None,
    day_first: bool | None = None,
) -> Times:
    """Dates, numbers since 1970, or what ``date_format`` says; a time without a zone is taken for UTC.

    Args:
        tables: Reads the table from its beginning.
        column: Its column of times.
        folder: An empty folder for temporary files, which the times are read from.
        date_format: Codes of ``strptime``.
        day_first: How dates such as 1/2/2018 begin; None where the column must show it.

    Raises:
        DataError: A value is no time, is infinite, or can be read in two ways.
        SettingError: ``date_format`` is none.
    """
    table = next(tables())
    dtype, place = table.frame[column].dtype, f"{table.file}, column {column}"
    option = {True: "--day-first", False: "--month-first", None: ""}[day_first]
    numbers = NumberSpool(folder)
    if dtype == pl.Date:
        dtype = pl.Datetime("us")
    if isinstance(dtype, pl.Datetime):
        if option or date_format is not None:
            raise DataError(f"{place}: {option or '--date-format'} has no effect on {dtype}; leave it out")
        for table in tables():
            numbers.append(table.frame[column].cast(dtype).dt.epoch(dtype.time_unit))
        return _finished(numbers, _PER_SECOND[dtype.time_unit], "dates", folder)
    if not (dtype.is_numeric() or dtype in (pl.String, pl.Null)):
        raise DataError(f"{place}: {dtype} is no time")
    if date_format is not None:
        unit = parse_format(tables, column, date_format, numbers)
        return _finished(numbers, _PER_SECOND[unit], date_format, folder)
    scan = _NumberScan(column, folder)
    if not all(scan.add(table) for table in tables()):
        unit, form = parse_dates(tables, column, day_first, numbers)
        return _finished(numbers, _PER_SECOND[unit], form, folder)
    scan.infinite.check()
    if option:
        raise DataError(
            f"{place}: {option} has no effect on numbers; leave it out, or say how dates are written with "
            "--date-format"
        )
    unit = scan.unit()
    for table in tables():
        numbers.append(scan.exactly(table.frame[column]))
    return _finished(numbers, _UNITS[unit], f"{unit} since 1970", folder)


def _finished(numbers: NumberSpool, per_second: int, form: str, folder: Path) -> Times:
    numbers.finish()
    times = Times(numbers, per_second, form)
    if per_second == 1 or not any((part % per_second != 0).any() for part in numbers.batches()):
        return times
    times = replace(times, is_whole=False)
    exact, rounded = DistinctValues(folder), DistinctValues(folder)
    for part in numbers.batches():
        exact.add(hash_columns(part))
        rounded.add(hash_columns(times.seconds(part)))
    return replace(times, merged=exact.count() - rounded.count())


class _NumberScan:
    """A column of times as numbers: their unit, and whether all are whole.

    Attributes:
        infinite: Values that are infinite.
    """

    def __init__(self, column: str, folder: Path) -> None:
        self._column = column
        self.infinite = Faults(column, "is infinite, which is no time")
        self._beyond = Faults(column, "is beyond 64 bits, which is no time")
        self._too_small = [
            Faults(column, f"is too small for {unit} since 1970, which others are; write all alike")
            for unit in list(_UNITS)[1:]
        ]
        self._are_reached = [False] * len(_LIMITS[:-1])
        self._dates = DigitDates(column, folder)
        self._are_whole = True

    def add(self, table: TextTable) -> bool:
        """Adds a batch; False where a value is no number."""
        values = table.frame[self._column]
        numbers = column_numbers(values)
        if numbers.invalid.any():
            return False
        self.infinite.add(table, numbers.infinite)
        self._dates.add(table, numbers.values)
        sizes = numbers.values.abs()
        self._beyond.add(table, sizes >= _LIMITS[-1])
        for number, (limit, faults) in enumerate(zip(_LIMITS, self._too_small, strict=False)):
            self._are_reached[number] |= bool((sizes >= limit).any())
            faults.add(table, (sizes < limit) & (sizes > 0))
        whole = _whole_numbers(values)
        self._are_whole &= whole is not None and whole.null_count() == numbers.values.null_count()
        return True

    def unit(self) -> str:
        """The unit of all numbers, a key of ``_UNITS``. Raises DataError where they have none in common."""
        self._dates.check()
        self._beyond.check()
        number = sum(self._are_reached)
        if number:
            self._too_small[number - 1].check()
        return list(_UNITS)[number]

    def exactly(self, values: pl.Series) -> pl.Series:
        """Whole numbers as int64, so that none is rounded; float64 where not all are whole."""
        whole = _whole_numbers(values) if self._are_whole else None
        return column_numbers(values).values if whole is None else whole


def _whole_numbers(values: pl.Series) -> pl.Series | None:
    """As int64, None where a value is no whole number; None for a column of a type with a fraction."""
    if values.dtype == pl.String:
        values = values.str.strip_chars().str.replace(r"\.0*$", "")
    elif not values.dtype.is_integer():
        return None
    return values.cast(pl.Int64, strict=False)


class TimeRange:
    """The first and the last one of the times that are kept, and those that are likely to be wrong.

    Attributes:
        first: Seconds since 1970.
        last: Seconds since 1970.
    """

    def __init__(self) -> None:
        self.first, self.last = math.inf, -math.inf
        self._early = self._late = 0
        self._tomorrow = time.time() + 86400

    def add(self, seconds: pl.Series) -> None:
        """Adds a batch without missing times, ``(rows,)``."""
        if len(seconds):
            self.first, self.last = min(self.first, seconds.min()), max(self.last, seconds.max())  # type: ignore
            self._early += int((seconds < _1980).sum())
            self._late += int((seconds > self._tomorrow).sum())

    def notes(self, column: str, merged: int) -> list[str]:
        """What is odd about the times; ``merged`` as in ``Times``."""
        notes = []
        if self._early:
            notes.append(f"{column}: {counted(self._early, 'time')} before 1980, the first {shown(self.first)}")
        if self._late:
            notes.append(f"{column}: {counted(self._late, 'time')} in the future, the last {shown(self.last)}")
        if merged:
            notes.append(f"{column}: {counted(merged, 'time')} the same as another to a microsecond")
        return notes


def shown(seconds: object) -> str:
    """``"2018-01-01 10:00:00"``, of any year."""
    return str(np.datetime64(math.floor(float(str(seconds))), "s")).replace("T", " ")

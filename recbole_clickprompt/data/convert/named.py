"""Reads the columns that the user names: ids, label and time. Missing or ambiguous values are errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.distinct import DistinctValues, hash_columns
from recbole_clickprompt.data.convert.labels import LabelColumn, LabelCounts, find_threshold
from recbole_clickprompt.data.convert.spool import Spool
from recbole_clickprompt.data.convert.stored_table import StoredTable
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.times import TimeRange, Times, read_times, shown
from recbole_clickprompt.data.convert.typed import IdColumn
from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError, nearest

__all__ = ["Columns", "NamedTable", "Reading", "read_named"]


@dataclass(frozen=True)
class Columns:
    """Names of the columns of user, item, label and time; ``time`` may be None."""

    user: str
    item: str
    label: str
    time: str | None = None

    def existing(self) -> list[str]:
        """Names of the existing columns."""
        return [column for column in (self.user, self.item, self.label, self.time) if column]

    def fields(self, *, label: str) -> dict[str, str]:
        """Maps each column to its field; ``label`` is the field of the label, ``label`` or ``rating``."""
        fields = {self.user: "user_id", self.item: "item_id", self.label: label}
        return {**fields, self.time: "timestamp"} if self.time else fields

    def check(self, file: str, names: list[str]) -> None:
        """Raises DataError where they are not different, or are not among the ``names`` of the file's columns."""
        asked = self.existing()
        if len(set(asked)) < len(asked):
            raise DataError("--user, --item, --label and --time must be four different columns")
        for column in asked:
            if column not in names:
                blanks = [name for name in names if name.strip().lower() == column.strip().lower()]
                close = f"; did you mean {blanks[0]!r}?" if blanks else nearest(column, names)
                existing = ", ".join(map(repr, names))
                raise DataError(f"{file} has no column {column!r}; there are {existing}{close}")


@dataclass(frozen=True)
class Reading:
    """Options for reading a table, where its values do not decide.

    Attributes:
        quoting: Values of csv may be in quotes; else a quote is an ordinary character.
        drop_missing: Rows without a label or a time are left out; else they are an error.
        date_format: How times are written, by codes of ``strptime``.
        day_first: Dates with the year at the end begin with the day, or the month; None: the values must show it.
        threshold: A row is positive from this label on.
    """

    quoting: bool = True
    drop_missing: bool = False
    date_format: str | None = None
    day_first: bool | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class NamedTable:
    """A table whose named columns are read.

    Attributes:
        names: All columns, in the order of the file.
        columns: The named ones.
        rows: Number of rows but the dropped ones.
        threshold: A row is positive from this label on; None where labels are 0 and 1.
        facts: What was read of labels and times, one line each.
        notes: What is odd about the columns, one line each.
    """

    names: list[str]
    columns: Columns
    rows: int
    threshold: float | None
    facts: list[str]
    notes: list[str]
    _table: StoredTable
    _named: Spool

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The rows but the dropped ones, with the columns ``names``: ids as text, labels and times as numbers."""
        return _kept_frames(self._table, self._named, self.columns, names)


def read_named(table: StoredTable, columns: Columns, reading: Reading, folder: Path) -> NamedTable:
    """Reads ids, labels and times.

    Args:
        table: All rows.
        columns: Those to read, which the table has.
        reading: How to read them.
        folder: An empty folder for temporary files, which the result is read from.

    Raises:
        DataError: An id, label or time is missing, invalid or unclear, by line.
        SettingError: The date format or the threshold is none.
    """
    labels = LabelColumn(columns.label)
    for batch in table.tables([columns.label]):
        labels.read(batch)
    labels.check()
    times = _read_times(table, columns.time, reading, folder)
    named, ids, notes = _read_rows(table, columns, times, reading.drop_missing, folder)
    for column in ids.values():
        column.check()
    counts, span = LabelCounts(reading.threshold), TimeRange()
    for frame in named.frames(named.names):
        kept = frame.filter(_is_kept(frame, columns))
        counts.add(kept[columns.label])
        if columns.time:
            span.add(kept[columns.time])
    for name, column in ids.items():
        notes += column.notes(_merged_ids(table, named, columns, name, folder) if column.changed else 0)
    threshold = find_threshold(f"{table.file}, column {columns.label}", counts, reading.threshold)
    if threshold is not None and reading.threshold is None:
        notes.append(f"{columns.label}: taken for stars, of which 4 and more are positive; --threshold changes it")
    least = 1.0 if threshold is None else threshold
    facts = [
        f"label: {counts.positive(least):,} of {counts.rows:,} rows are positive ({number_text(least)} or more)"
    ]
    if times and columns.time:
        facts.append(f"time: {shown(span.first)} to {shown(span.last)} UTC, read as {times.form}")
        notes += span.notes(columns.time, times.merged)
    return NamedTable(table.names, columns, counts.rows, threshold, facts, notes, table, named)


def _read_times(table: StoredTable, column: str | None, reading: Reading, folder: Path) -> Times | None:
    if column is None:
        return None
    folder = folder / "times"
    folder.mkdir()
    return read_times(
        lambda: table.tables([column]),
        column,
        folder,
        date_format=reading.date_format,
        day_first=reading.day_first,
    )


def _read_rows(
    table: StoredTable, columns: Columns, times: Times | None, drop: bool, folder: Path
) -> tuple[Spool, dict[str, IdColumn], list[str]]:
    """All named columns on disk, in the batches of the table; ids; and how many rows are dropped.

    Raises:
        DataError: A label or a time is missing, and such rows are not to be dropped.
    """
    labels = LabelColumn(columns.label)
    ids = {name: IdColumn(name) for name in (columns.user, columns.item)}
    missing = [_MissingRows(columns.label, "label"), _MissingRows(columns.time or "", "time")]
    spool = Spool(folder / "named.arrow")
    seconds: Iterator[pl.Series | None] = times.batches() if times else repeat(None)
    for batch, numbers in zip(table.tables(columns.existing()), seconds, strict=False):
        label = labels.read(batch).alias(columns.label)
        kept = missing[0].add(batch, label.is_null(), None)
        named = [label]
        if numbers is not None and columns.time:
            named.append(numbers.alias(columns.time))
            kept = missing[1].add(batch, numbers.is_null(), kept)
        named += [column.read(batch, kept).alias(name) for name, column in ids.items()]
        spool.append(pl.DataFrame(named))
    spool.finish()
    return spool, ids, [note for faults in missing for note in faults.check(table.file, drop)]


class _MissingRows:
    """Rows without a label or without a time, batch by batch."""

    def __init__(self, column: str, what: str) -> None:
        self._column, self._what = column, what
        self._rows = self._missing = 0
        self._place = ""

    def add(self, table: TextTable, is_missing: pl.Series, rows: pl.Series | None) -> pl.Series:
        """Adds those of ``rows``, or of all; returns the rows that are left."""
        if rows is not None:
            is_missing = is_missing & rows
        number = int(is_missing.sum())
        if number and not self._missing:
            self._place = table.place(int(is_missing.arg_true()[0]), self._column)
        self._missing += number
        self._rows += len(is_missing) if rows is None else int(rows.sum())
        return ~is_missing if rows is None else rows & ~is_missing

    def check(self, file: str, drop: bool) -> list[str]:
        """A note on the rows that are dropped. Raises DataError if all are, or they should not be dropped."""
        if not self._missing:
            return []
        if self._missing == self._rows:
            raise DataError(f"{file}, column {self._column}: no row has a {self._what}")
        number = f"{self._missing:,} of {self._rows:,}"
        if not drop:
            raise DataError(
                f"{self._place}: the {self._what} is missing, as in {number} rows; fill them in, or leave such "
                "rows out with --drop-missing"
            )
        return [f"{self._column}: rows without a {self._what} were dropped, {number}"]


def _is_kept(named: pl.DataFrame, columns: Columns) -> pl.Series:
    kept = named[columns.label].is_not_null()
    return kept & named[columns.time].is_not_null() if columns.time else kept


def _kept_frames(
    table: StoredTable, named: Spool, columns: Columns, names: Sequence[str]
) -> Iterator[pl.DataFrame]:
    others = [name for name in names if name not in named.names]
    batches = table.tables(others) if others else repeat(None)
    for values, batch in zip(named.frames(named.names), batches, strict=False):
        frame = values if batch is None else values.hstack(batch.frame)
        yield frame.filter(_is_kept(values, columns)).select(names)


def _merged_ids(table: StoredTable, named: Spool, columns: Columns, name: str, folder: Path) -> int:
    """How many different ids became the same as another one without blanks around it."""
    before, after = DistinctValues(folder), DistinctValues(folder)
    for values, batch in zip(named.frames(named.names), table.tables([name]), strict=True):
        kept = _is_kept(values, columns)
        before.add(hash_columns(batch.frame[name].filter(kept)))
        after.add(hash_columns(values[name].filter(kept)))
    return before.count() - after.count()

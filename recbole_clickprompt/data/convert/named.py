"""Reads the columns that the user names: ids, label and time. Missing or ambiguous values are errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.distinct import DistinctValues, hash_columns
from recbole_clickprompt.data.convert.dropped_rows import DroppedLabels, MissingRows
from recbole_clickprompt.data.convert.labels import LabelColumn, LabelCounts, find_threshold
from recbole_clickprompt.data.convert.spool import Spool
from recbole_clickprompt.data.convert.stored_table import StoredTable
from recbole_clickprompt.data.convert.table_options import Columns, Reading
from recbole_clickprompt.data.convert.times import TimeRange, Times, read_times, shown
from recbole_clickprompt.data.convert.typed import IdColumn
from recbole_clickprompt.data.numbers import number_text

__all__ = ["NamedTable", "read_named"]


@dataclass(frozen=True)
class NamedTable:
    """A table whose named columns are read.

    Attributes:
        names: All columns, in the order of the file.
        columns: The named ones.
        rows: Number of rows but the dropped ones.
        positive: How many of them are positive; all if there are no labels.
        threshold: A row is positive from this label on; None where labels are 0 and 1.
        facts: What was read of labels and times, one line each.
        notes: What is odd about the columns, one line each.
    """

    names: list[str]
    columns: Columns
    rows: int
    positive: int
    threshold: float | None
    facts: list[str]
    notes: list[str]
    _table: StoredTable
    _named: Spool

    @property
    def file(self) -> str:
        """Name of the file, for messages."""
        return self._table.file

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
    if columns.label:
        labels = LabelColumn(columns.label)
        for batch in table.tables([columns.label]):
            labels.read(batch)
        labels.check()
    times = _read_times(table, columns.time, reading, folder)
    named, ids, notes = _read_rows(table, columns, times, reading, folder)
    for column in ids.values():
        column.check()
    counts, span, rows = LabelCounts(reading.threshold), TimeRange(), 0
    for frame in named.frames(named.names):
        kept = frame.filter(_is_kept(frame, columns))
        rows += len(kept)
        if columns.label:
            counts.add(kept[columns.label])
        if columns.time:
            span.add(kept[columns.time])
    for name, column in ids.items():
        notes += column.notes(_merged_ids(table, named, columns, name, folder) if column.changed else 0)
    threshold, positive, facts = None, rows, []
    if columns.label:
        threshold = find_threshold(f"{table.file}, column {columns.label}", counts, reading.threshold)
        if threshold is not None and reading.threshold is None:
            notes.append(
                f"{columns.label}: taken for stars, of which 4 and more are positive; --threshold changes it"
            )
        least = 1.0 if threshold is None else threshold
        positive = counts.positive(least)
        facts.append(f"label: {positive:,} of {rows:,} rows are positive ({number_text(least)} or more)")
    if times and columns.time:
        facts.append(f"time: {shown(span.first)} to {shown(span.last)} UTC, read as {times.form}")
        notes += span.notes(columns.time, times.merged)
    return NamedTable(table.names, columns, rows, positive, threshold, facts, notes, table, named)


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
    table: StoredTable, columns: Columns, times: Times | None, reading: Reading, folder: Path
) -> tuple[Spool, dict[str, IdColumn], list[str]]:
    """All named columns on disk, in the batches of the table; ids; and how many rows are dropped.

    A row that is dropped because of its label has none in the result.

    Raises:
        DataError: A label or a time is missing, and such rows are not to be dropped.
    """
    labels = LabelColumn(columns.label) if columns.label else None
    dropped = DroppedLabels(columns.label or "", reading.drop_labels)
    ids = {name: IdColumn(name) for name in (columns.user, columns.item)}
    missing = [MissingRows(columns.label or "", "label"), MissingRows(columns.time or "", "time")]
    spool = Spool(folder / "named.arrow")
    seconds: Iterator[pl.Series | None] = times.batches() if times else repeat(None)
    for batch, numbers in zip(table.tables(columns.existing()), seconds, strict=False):
        kept, named = pl.repeat(True, len(batch.frame), eager=True), []
        if labels and columns.label:
            label = labels.read(batch).alias(columns.label)
            missing[0].add(batch, label.is_null(), None)
            named.append(dropped.add(label))
            kept = named[0].is_not_null()
        if numbers is not None and columns.time:
            named.append(numbers.alias(columns.time))
            kept = missing[1].add(batch, numbers.is_null(), kept)
        named += [column.read(batch, kept).alias(name) for name, column in ids.items()]
        spool.append(pl.DataFrame(named))
    spool.finish()
    notes = missing[0].check(table.file, reading.drop_missing)
    notes += dropped.notes(table.file)
    return spool, ids, [*notes, *missing[1].check(table.file, reading.drop_missing)]


def _is_kept(named: pl.DataFrame, columns: Columns) -> pl.Series:
    kept = pl.repeat(True, len(named), eager=True)
    for column in (columns.label, columns.time):
        if column:
            kept &= named[column].is_not_null()
    return kept


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

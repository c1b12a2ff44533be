"""The columns that the user names, ids, label and time: what is missing or unclear in them is an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from recbole_clickprompt.data.convert.labels import find_threshold, read_labels
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.times import Times, read_times, shown, time_notes
from recbole_clickprompt.data.convert.typed import read_ids
from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError, nearest

__all__ = ["Columns", "Named", "Reading", "read_named"]


@dataclass(frozen=True)
class Columns:
    """Names of the user's columns; ``time`` may be missing."""

    user: str
    item: str
    label: str
    time: str | None = None

    def fields(self, *, label: str) -> dict[str, str]:
        """Column: the field that it becomes; the label's is called ``label`` or ``rating``."""
        fields = {self.user: "user_id", self.item: "item_id", self.label: label}
        return {**fields, self.time: "timestamp"} if self.time else fields

    def check(self, table: TextTable) -> None:
        """Raises DataError where they are not different, or a table lacks one."""
        asked = [column for column in (self.user, self.item, self.label, self.time) if column]
        if len(set(asked)) < len(asked):
            raise DataError("--user, --item, --label and --time must be four different columns")
        names = table.frame.columns
        for column in asked:
            if column not in names:
                blanks = [name for name in names if name.strip().lower() == column.strip().lower()]
                close = f"; did you mean {blanks[0]!r}?" if blanks else nearest(column, names)
                there = ", ".join(map(repr, names))
                raise DataError(f"{table.file} has no column {column!r}; there are {there}{close}")


@dataclass(frozen=True)
class Reading:
    """How a table is read, where it does not tell.

    Attributes:
        quoting: A value of csv may be in quotes; else a quote is an ordinary character.
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


class Named(NamedTuple):
    """A table whose named columns are read.

    Attributes:
        table: Its rows but the dropped ones, with ids as text and labels and times as numbers.
        threshold: A row is positive from this label on; None where labels are 0 and 1.
        facts: What was read of labels and times, a line each.
        notes: What is odd about the columns, a line each.
    """

    table: TextTable
    threshold: float | None
    facts: list[str]
    notes: list[str]


def read_named(table: TextTable, columns: Columns, reading: Reading) -> Named:
    """Reads ids, labels and times.

    Raises:
        DataError: A column is not there; or an id, label or time is missing, invalid or unclear, by line.
        SettingError: The date format or the threshold is none.
    """
    columns.check(table)
    labels = read_labels(table, columns.label)
    times = _read_times(table, columns.time, reading)
    table = table.with_columns(labels.alias(columns.label), *([times.seconds] if times else []))
    table, notes = _complete(table, columns, reading.drop_missing)
    for column in (columns.user, columns.item):
        ids, remarks = read_ids(table, column)
        table, notes = table.with_columns(ids), notes + remarks
    threshold = find_threshold(table, columns.label, table.frame[columns.label], reading.threshold)
    if threshold is not None and reading.threshold is None:
        notes.append(f"{columns.label}: taken for stars, of which 4 and more are positive; --threshold changes it")
    facts, remarks = _facts(table, columns, times, threshold)
    return Named(table, threshold, facts, notes + remarks)


def _read_times(table: TextTable, column: str | None, reading: Reading) -> Times | None:
    if column is None:
        return None
    return read_times(table, column, date_format=reading.date_format, day_first=reading.day_first)


def _complete(table: TextTable, columns: Columns, drop: bool) -> tuple[TextTable, list[str]]:
    """The rows that have a label and a time, and how many others were dropped."""
    notes = []
    for column, what in ((columns.label, "label"), (columns.time, "time")):
        missing = table.frame[column].is_null() if column else pl.Series([False])
        number = int(missing.sum())
        if not column or not number:
            continue
        if number == len(missing):
            raise DataError(f"{table.file}, column {column}: no row has a {what}")
        if not drop:
            raise DataError(
                f"{table.place(int(missing.arg_true()[0]), column)}: the {what} is missing, as in {number:,} "
                f"of {len(missing):,} rows; fill them in, or leave such rows out with --drop-missing"
            )
        notes.append(f"{column}: rows without a {what} were dropped, {number:,} of {len(missing):,}")
        table = table.keep(~missing)
    return table, notes


def _facts(
    table: TextTable, columns: Columns, times: Times | None, threshold: float | None
) -> tuple[list[str], list[str]]:
    """What was read of the labels and times that are kept, and what is odd about them."""
    labels, least = table.frame[columns.label], 1.0 if threshold is None else threshold
    positive = int((labels >= least).sum())
    facts = [f"label: {positive:,} of {len(labels):,} rows are positive ({number_text(least)} or more)"]
    notes = []
    if times and columns.time:
        kept = times._replace(seconds=table.frame[columns.time])
        low, high = shown(kept.seconds.min()), shown(kept.seconds.max())
        facts.append(f"time: {low} to {high} UTC, read as {times.form}")
        notes += time_notes(columns.time, kept)
    return facts, notes

"""A user's own table of clicks or ratings to atomic files, with guessed sources and types of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.guess import field_names, guess_column, guess_source
from recbole_clickprompt.data.convert.labels import find_threshold, read_labels
from recbole_clickprompt.data.convert.own_file import read_file
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.times import Times, read_times, shown, time_notes
from recbole_clickprompt.data.convert.typed import read_ids
from recbole_clickprompt.data.text import number_text
from recbole_clickprompt.errors import DataError, nearest

__all__ = ["Columns", "OwnTable", "Reading", "read_own_table"]

_SOURCES = ("inter", "user", "item")


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


@dataclass(frozen=True)
class OwnTable:
    """What was read and guessed.

    Attributes:
        frame: All rows, a column a field.
        words: Field: the user's name of it, in words; in the order of the text.
        sources: Field: ``inter``, ``user`` or ``item``.
        types: Field: ``token``, ``token_seq`` or ``float``.
        threshold: The label is 1 from this value of ``rating`` on; None where ``label`` is 0 or 1 itself.
        rows_read: Rows of the table, of which ``frame`` has all but the dropped ones.
        facts: What was read of labels and times, a line each.
        notes: What is odd about the table, a line each.
    """

    frame: pl.DataFrame
    words: dict[str, str]
    sources: dict[str, str]
    types: dict[str, str]
    threshold: float | None
    rows_read: int
    facts: list[str]
    notes: list[str]

    def fields(self, source: str) -> list[str]:
        """Fields of a source, the ids first."""
        ids = {"inter": ["user_id", "item_id"], "user": ["user_id"], "item": ["item_id"]}[source]
        return ids + [field for field, of in self.sources.items() if of == source and field not in ids]

    def write(self, folder: Path, name: str) -> int:
        """Writes the atomic files; returns how many long texts were cut."""
        cut = 0
        for source in _SOURCES:
            fields = self.fields(source)
            if source == "inter" or len(fields) > 1:
                frame = self.frame if source == "inter" else self.frame.unique(fields[0], maintain_order=True)
                cut += write_atomic(folder / f"{name}.{source}", frame, {f: self.types[f] for f in fields})
        return cut


def read_own_table(path: Path, columns: Columns, reading: Reading) -> OwnTable:
    """Reads a csv, tsv or parquet file and guesses what its columns are.

    A column is of the user where every user has one value of it, or of the item where every item has; else it is
    of the row. Numbers of more than 200 values are ``float``, lists ``token_seq``, and all others ``token``.

    Raises:
        DataError: The file or a column of it cannot be used; by line and column.
        SettingError: The date format or the threshold is none.
    """
    table = read_file(path, label=columns.label, quoting=reading.quoting)
    columns.check(table)
    rows_read = len(table.frame)
    labels = read_labels(table, columns.label)
    times = _read_times(table, columns.time, reading)
    table = table.with_columns(labels.alias(columns.label), *([times.seconds] if times else []))
    table, notes = _complete(table, columns, reading.drop_missing)
    for column in (columns.user, columns.item):
        ids, remarks = read_ids(table, column)
        table, notes = table.with_columns(ids), notes + remarks
    threshold = find_threshold(table, columns.label, table.frame[columns.label], reading.threshold)
    facts, remarks = _known_facts(table, columns, times, threshold, reading)
    known = columns.fields(label="label" if threshold is None else "rating")
    guessed = {name: guess_column(table.frame[name], path) for name in table.frame.columns if name not in known}
    notes += remarks + [note for column in guessed.values() for note in column.notes]
    fields = field_names(table.frame.columns, known, path)
    frame = table.frame.with_columns(column.values for column in guessed.values()).rename(fields)
    types = {field: "token" if field in ("user_id", "item_id") else "float" for field in known.values()}
    types |= {fields[name]: column.kind for name, column in guessed.items()}
    others = {field: guess_source(frame, field) for field in frame.columns if field not in known.values()}
    words = {field: name.replace("_", " ").strip() for name, field in fields.items()}
    text = ["user_id", *_of(others, "user"), "item_id", *_of(others, "item"), *_of(others, "inter")]
    sources = {**dict.fromkeys(known.values(), "inter"), **others}
    return OwnTable(
        frame, {field: words[field] for field in text}, sources, types, threshold, rows_read, facts, notes
    )


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
                f"{table.place(int(missing.arg_true()[0]), column)}: {number:,} of {len(missing):,} rows have no "
                f"{what}, this is the first; fill them in, or leave them out with --drop-missing"
            )
        notes.append(f"{column}: {number:,} rows without a {what} were dropped")
        table = table.keep(~missing)
    return table, notes


def _known_facts(
    table: TextTable, columns: Columns, times: Times | None, threshold: float | None, reading: Reading
) -> tuple[list[str], list[str]]:
    """What was read of the labels and times that are kept, and what is odd about them."""
    labels, least = table.frame[columns.label], 1.0 if threshold is None else threshold
    positive = int((labels >= least).sum())
    facts = [f"label: {positive:,} of {len(labels):,} rows are positive ({number_text(least)} or more)"]
    notes = []
    if threshold is not None and reading.threshold is None:
        notes.append(f"{columns.label}: taken for stars, of which 4 and more are positive; --threshold changes it")
    if times and columns.time:
        kept = times._replace(seconds=table.frame[columns.time])
        low, high = shown(kept.seconds.min()), shown(kept.seconds.max())
        facts.append(f"time: {low} to {high} UTC, read as {times.form}")
        notes += time_notes(columns.time, kept)
    return facts, notes


def _of(sources: dict[str, str], source: str) -> list[str]:
    return [field for field, of in sources.items() if of == source]



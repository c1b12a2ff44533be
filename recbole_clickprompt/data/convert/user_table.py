"""Converts a user's table of clicks or ratings to atomic files; guesses source and type of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.atomic import AtomicWriter
from recbole_clickprompt.data.convert.distinct import DistinctValues, combine_hashes, hash_columns
from recbole_clickprompt.data.convert.infer_schema import Column, ColumnScan, field_names
from recbole_clickprompt.data.convert.infer_source import SourceScan
from recbole_clickprompt.data.convert.named import Columns, NamedTable, Reading, read_named
from recbole_clickprompt.data.convert.oddities import CountingColumn, ListScan, repeated_rows
from recbole_clickprompt.data.convert.stored_table import StoredTable
from recbole_clickprompt.data.convert.user_file import open_user_file

__all__ = ["UserTable", "read_user_table"]

_SOURCES = ("inter", "user", "item")


@dataclass(frozen=True)
class UserTable:
    """A table that was read, and the guesses about its columns.

    Attributes:
        words: Field: its name in words, in the order of the text.
        sources: Field: ``inter``, ``user`` or ``item``.
        types: Field: ``token``, ``token_seq`` or ``float``.
        threshold: The label is 1 from this value of ``rating`` on; None where ``label`` is 0 or 1 itself.
        rows_read: Rows of the table.
        rows: Rows but the dropped ones.
        first_row: Field: its value in the first row.
        facts: What was read of labels and times, one line each.
        notes: What is odd about the table, one line each.
    """

    words: dict[str, str]
    sources: dict[str, str]
    types: dict[str, str]
    threshold: float | None
    rows_read: int
    rows: int
    first_row: dict[str, object]
    facts: list[str]
    notes: list[str]
    _fields: _Fields
    _first_rows: dict[str, np.ndarray]  # of each user and each item

    def fields(self, source: str) -> list[str]:
        """Fields of a source, the ids first."""
        ids = {"inter": ["user_id", "item_id"], "user": ["user_id"], "item": ["item_id"]}[source]
        return ids + _of_source(self.sources, source, ids)

    def write(self, folder: Path, name: str) -> list[str]:
        """Writes the atomic files; returns notes on what was changed."""
        with ExitStack() as stack:
            writers = {
                source: stack.enter_context(
                    AtomicWriter(folder / f"{name}.{source}", {f: self.types[f] for f in self.fields(source)})
                )
                for source in _SOURCES
                if source == "inter" or len(self.fields(source)) > 1
            }
            start = 0
            for frame in self._fields.frames():
                end = start + len(frame)
                for source, writer in writers.items():
                    if source == "inter":
                        writer.write(frame)
                        continue
                    rows = self._first_rows[source]
                    rows = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)]
                    writer.write(frame[rows - start])
                start = end
        return [note for writer in writers.values() for note in writer.notes()]


def read_user_table(path: Path, columns: Columns, reading: Reading, folder: Path) -> UserTable:
    """Reads a csv, tsv or Parquet file and guesses what its columns are.

    A column belongs to the user if every user has exactly one value of it, to the item if every item has, else to
    the row. Numbers with more than 200 different values are ``float``, lists ``token_seq``, all others ``token``.

    Memory does not grow with the number of rows, and by 8 bytes for each user and item: rows, and hashes of what
    has to be compared, are on disk.

    Args:
        path: The file.
        columns: The columns of ids, labels and times.
        reading: How to read them.
        folder: An empty folder for temporary files, which the result is written from.

    Raises:
        DataError: The file or a column of it cannot be used; by line and column.
        SettingError: The date format or the threshold is none.
    """
    source = open_user_file(path, label=columns.label, quoting=reading.quoting)
    stored = StoredTable(source, folder, columns.check)
    named = read_named(stored, columns, reading, folder)
    known = columns.fields(label="label" if named.threshold is None else "rating")
    scan = _TableScan(named, [name for name in named.names if name not in known], str(path), folder)
    guessed = {name: column.guess() for name, column in scan.columns.items()}
    notes = [*stored.notes, *named.notes, *(note for column in guessed.values() for note in column.notes)]
    names, renamed = field_names(named.names, known, str(path))
    notes += [
        *renamed,
        *_counting_columns(stored, list(guessed)),
        *repeated_rows(named.rows - scan.distinct.count()),
    ]
    notes += _list_notes(named, {name: scan.lists[name] for name in scan.lists if guessed[name].kind == "token"})
    types = {field: "token" if field in ("user_id", "item_id") else "float" for field in known.values()}
    types |= {names[name]: column.kind for name, column in guessed.items()}
    fields = _Fields(named, names, guessed)
    first_rows = {source: ids.first_rows() for source, ids in scan.ids.items()}
    others = _guess_sources(
        fields,
        [names[name] for name in guessed],
        {source: len(rows) for source, rows in first_rows.items()},
        folder,
    )
    words = {field: name.replace("_", " ").strip() for name, field in names.items()}
    text = [
        "user_id",
        *_of_source(others, "user"),
        "item_id",
        *_of_source(others, "item"),
        *_of_source(others, "inter"),
    ]
    return UserTable(
        words={field: words[field] for field in text},
        sources={**dict.fromkeys(known.values(), "inter"), **others},
        types=types,
        threshold=named.threshold,
        rows_read=stored.rows,
        rows=named.rows,
        first_row=next(frame for frame in fields.frames() if len(frame)).row(0, named=True),
        facts=named.facts,
        notes=notes,
        _fields=fields,
        _first_rows=first_rows,
    )


class _TableScan:
    """All columns but the named ones, and all rows, read once.

    Attributes:
        columns: Name: what it is, for the columns that are not named.
        lists: Name: whether its texts are lists, for those of them that are texts.
        distinct: The different rows.
        ids: The different users and items.
    """

    def __init__(self, named: NamedTable, names: list[str], file: str, folder: Path) -> None:
        self.columns: dict[str, ColumnScan] = {}
        self.lists: dict[str, ListScan] = {}
        self.distinct = DistinctValues(folder)
        self.ids = {source: DistinctValues(folder, with_rows=True) for source in ("user", "item")}
        for frame in named.frames(named.names):
            if not self.columns:
                for name in names:
                    dtype = frame.schema[name]
                    self.columns[name] = ColumnScan(f"{file}, column {name}", name, dtype, folder)
                    if dtype == pl.String:
                        self.lists[name] = ListScan(name, folder)
            hashes = {name: hash_columns(frame[name]) for name in named.names}
            self.distinct.add(combine_hashes(*hashes.values()))
            self.ids["user"].add(hashes[named.columns.user])
            self.ids["item"].add(hashes[named.columns.item])
            for name, column in self.columns.items():
                column.add(frame[name])
            for name, texts in self.lists.items():
                texts.add(frame[name])


@dataclass(frozen=True)
class _Fields:
    """The rows with all fields by their final names, as they are written."""

    named: NamedTable
    names: dict[str, str]  # column: field
    columns: dict[str, Column]  # those that are not named

    def frames(self) -> Iterator[pl.DataFrame]:
        """Batches of rows."""
        for frame in self.named.frames(self.named.names):
            converted = (column.convert(frame[name]).alias(name) for name, column in self.columns.items())
            yield frame.with_columns(*converted).rename(self.names)


def _guess_sources(fields: _Fields, others: list[str], numbers: dict[str, int], folder: Path) -> dict[str, str]:
    """Field: its source; for ``others``, with the ``numbers`` of different users and items."""
    scans = {field: SourceScan(folder) for field in others}
    rows = 0
    for frame in fields.frames():
        ids = {source: hash_columns(frame[f"{source}_id"]) for source in ("user", "item")}
        in_batch = {source: len(np.unique(hashes)) for source, hashes in ids.items()}
        for field, scan in scans.items():
            scan.add(hash_columns(frame[field]), ids, in_batch)
        rows += len(frame)
    return {field: scan.guess(rows, numbers) for field, scan in scans.items()}


def _counting_columns(table: StoredTable, names: list[str]) -> list[str]:
    """Notes on columns that number the rows of the file, also those that are dropped."""
    scans = {name: CountingColumn(name) for name in names}
    if names:
        for batch in table.tables(names):
            for name, scan in scans.items():
                scan.add(batch.frame[name])
    return [note for scan in scans.values() for note in scan.notes()]


def _list_notes(named: NamedTable, scans: dict[str, ListScan]) -> list[str]:
    unclear = {name: scan for name, scan in scans.items() if scan.wants_elements()}
    if unclear:
        for frame in named.frames(list(unclear)):
            for name, scan in unclear.items():
                scan.add_elements(frame[name])
    return [note for scan in scans.values() for note in scan.notes()]


def _of_source(sources: dict[str, str], source: str, without: list[str] | tuple[()] = ()) -> list[str]:
    return [field for field, found in sources.items() if found == source and field not in without]

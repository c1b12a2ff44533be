"""Reads all rows of a user's table to find out what its columns are, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.column_scans import ColumnScans
from recbole_clickprompt.data.convert.distinct import DistinctValues, combine_hashes, hash_columns
from recbole_clickprompt.data.convert.infer_schema import Column
from recbole_clickprompt.data.convert.infer_source import SourceScan, UniqueValues
from recbole_clickprompt.data.convert.leaks import LeakScan
from recbole_clickprompt.data.convert.named import NamedTable
from recbole_clickprompt.data.convert.oddities import CountingColumn
from recbole_clickprompt.data.convert.stored_table import StoredTable
from recbole_clickprompt.data.convert.table_options import Features

__all__ = ["RowFields", "RowScan", "counting_columns", "guess_sources", "one_to_one"]


class RowScan:
    """All columns but the named ones, and all rows, read once.

    Args:
        named: The rows.
        features: Options for the columns that are not named.
        entities: For ``user`` and ``item``: to these the hashes of all ids are added.
        folder: For temporary files.

    Attributes:
        columns: The columns that are not named.
        distinct: The different rows.
        ids: The different users and items.
    """

    def __init__(
        self,
        named: NamedTable,
        features: Features,
        entities: Mapping[str, DistinctValues],
        folder: Path,
    ) -> None:
        names = [name for name in named.names if name not in named.columns.existing()]
        self.columns = ColumnScans(named.file, names, features, folder)
        self.distinct = DistinctValues(folder)
        self.ids = {source: DistinctValues(folder, with_rows=True) for source in ("user", "item")}
        for frame in named.frames(named.names):
            hashes = {name: hash_columns(frame[name]) for name in named.names}
            self.distinct.add(combine_hashes(*hashes.values()))
            for source, column in (("user", named.columns.user), ("item", named.columns.item)):
                self.ids[source].add(hashes[column])
                if source in entities:
                    entities[source].add(hashes[column])
            self.columns.add(frame)


@dataclass(frozen=True)
class RowFields:
    """The rows with all fields by their final names, as they are written.

    Attributes:
        named: The table.
        names: Column: its field.
        columns: Column: what it is, for those that are not named.
    """

    named: NamedTable
    names: Mapping[str, str]
    columns: Mapping[str, Column]

    def words(self) -> dict[str, str]:
        """Field: its name in words."""
        return {field: name.replace("_", " ").strip() or field for name, field in self.names.items()}

    def frames(self) -> Iterator[pl.DataFrame]:
        """Batches of rows."""
        for frame in self.named.frames(self.named.names):
            converted = (column.convert(frame[name]).alias(name) for name, column in self.columns.items())
            yield frame.with_columns(*converted).rename(self.names)

    def named_frames(self) -> Iterator[pl.DataFrame]:
        """Batches of rows with the named fields only."""
        names = self.named.columns.existing()
        for frame in self.named.frames(names):
            yield frame.rename({name: self.names[name] for name in names})


def guess_sources(
    fields: RowFields, first_rows: Mapping[str, np.ndarray], folder: Path
) -> tuple[dict[str, str], dict[str, str], LeakScan | None]:
    """Guesses which fields, besides the named ones, belong to users, items or rows.

    Args:
        fields: All rows.
        first_rows: The first row of each user and each item, ascending.
        folder: For temporary files.

    Returns:
        Field: its source; the same for fields that are one-to-one with the id of their source; and a scan that has
        read all fields of these rows, None without labels.
    """
    named = fields.named
    others = [fields.names[name] for name in fields.columns]
    scans = {field: SourceScan(folder) for field in others}
    numbers = {source: len(rows) for source, rows in first_rows.items()}
    label = fields.names[named.columns.label] if named.columns.label else None
    leaks = LeakScan(named.positive, named.rows - named.positive) if label else None
    start = 0
    for frame in fields.frames():
        end = start + len(frame)
        ids = {source: hash_columns(frame[f"{source}_id"]) for source in numbers}
        in_batch = {source: len(np.unique(hashes)) for source, hashes in ids.items()}
        first = {
            source: rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            for source, rows in first_rows.items()
        }
        hashes = {field: hash_columns(frame[field]) for field in others}
        for field, scan in scans.items():
            scan.add(hashes[field], _is_missing(frame[field]), ids, in_batch, first)
        if leaks and label:
            least = 1.0 if named.threshold is None else named.threshold
            floats = {field: frame[field] for field in others if frame[field].dtype.is_float()}
            leaks.add((frame[label] >= least).to_numpy(), ids, hashes, floats)
        start = end
    sources = {field: scan.guess(named.rows, numbers) for field, scan in scans.items()}
    unique = {f: s for f, s in sources.items() if s != "inter" and scans[f].is_one_to_one(s)}
    return sources, unique, leaks


def one_to_one(frames: Iterable[pl.DataFrame], id_field: str, folder: Path) -> list[str]:
    """Fields of a table of users or items that all of them have different values of."""
    values: dict[str, UniqueValues] = {}
    for frame in frames:
        for column in frame.drop(id_field):
            unique = values.setdefault(column.name, UniqueValues(folder))
            unique.add(hash_columns(column), _is_missing(column))
    return [field for field, unique in values.items() if unique.are_unique()]


def counting_columns(table: StoredTable, names: list[str]) -> list[str]:
    """Notes on columns that number the rows of the file, also those that are dropped."""
    scans = {name: CountingColumn(name) for name in names}
    if names:
        for batch in table.tables(names):
            for name, scan in scans.items():
                scan.add(batch.frame[name])
    return [note for scan in scans.values() for note in scan.notes()]


def _is_missing(values: pl.Series) -> np.ndarray:
    return values.is_null().to_numpy()

"""A second table that describes users or items, also those without any row, and its join with the first one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.column_scans import ColumnScans
from recbole_clickprompt.data.convert.distinct import DistinctValues, hash_columns
from recbole_clickprompt.data.convert.infer_schema import Column, entity_field_names
from recbole_clickprompt.data.convert.spool import Spool
from recbole_clickprompt.data.convert.stored_table import StoredTable
from recbole_clickprompt.data.convert.table_options import Features, check_column
from recbole_clickprompt.data.convert.typed import IdColumn
from recbole_clickprompt.data.convert.user_file import open_user_file
from recbole_clickprompt.errors import DataError

__all__ = ["EntityFields", "EntityJoin", "SideTable"]

_JOINED = 1 << 15  # users or items joined in memory at once
_MOST_PARTS = 128  # open files
_WRITTEN = 1 << 12  # of them written at once


class SideTable:
    """A table of users or items with one row for each.

    Args:
        path: The file.
        source: ``user`` or ``item``.
        id_column: The column of their ids, as in the table of rows.
        features: Options for the other columns.
        quoting: Values of csv may be in quotes.
        folder: For temporary files.

    Attributes:
        file: Name of the file.
        source: As above.
        id_column: As above.
        names: All columns of the file.
        columns: All columns but the ids and the dropped ones.
        rows: Number of users or items.
        all_ids: Their ids, to which those of the table of rows are to be added.

    Raises:
        DataError: The file cannot be used, or an id is missing or comes twice; by line.
    """

    def __init__(
        self, path: Path, source: str, id_column: str, features: Features, *, quoting: bool, folder: Path
    ) -> None:
        self.source, self.names = source, [""]
        folder = folder / source
        folder.mkdir()
        self.id_column = id_column

        def check(file: str, names: list[str]) -> None:
            self.names = names
            check_column(id_column, file, names)

        self._table = StoredTable(open_user_file(path, label="", quoting=quoting), folder, check, features.apply)
        self.file, self.rows = self._table.file, self._table.rows
        ids = IdColumn(id_column)
        self.all_ids = DistinctValues(folder, with_rows=True)
        self._ids = Spool(folder / "ids.arrow")
        others = [name for name in self._table.names if name != id_column]
        if not others:
            raise DataError(f"{self.file} has no column but {id_column!r}; add features, or leave it out")
        self.columns = ColumnScans(self.file, others, features, folder)
        for batch in self._table.tables(self._table.names):
            found = ids.read(batch, pl.repeat(True, len(batch.frame), eager=True)).alias("id")
            self._ids.append(found.to_frame())
            self.all_ids.add(hash_columns(found))
            self.columns.add(batch.frame)
        self._ids.finish()
        ids.check()
        self._check_repeated()
        self._id_notes = ids.notes(0)

    def _check_repeated(self) -> None:
        first_rows = self.all_ids.first_rows()
        if len(first_rows) == self.rows:
            return
        repeated, start = int((first_rows == np.arange(len(first_rows))).argmin()), 0
        if first_rows[repeated] == repeated:  # all first rows come before the repeated ones
            repeated = len(first_rows)
        for batch, ids in zip(self._table.tables([self.id_column]), self._ids.frames(["id"]), strict=True):
            if repeated < start + len(ids):
                place = batch.place(repeated - start, self.id_column)
                more = f" (as in {self.rows - len(first_rows):,} rows)"
                raise DataError(
                    f"{place}: {ids['id'][repeated - start]!r} comes twice{more}; keep one row for each"
                )
            start += len(ids)

    def guess(self, separator: str, taken: Collection[str]) -> EntityFields:
        """What the columns are.

        Args:
            separator: Separates elements of lists.
            taken: Fields of other tables.
        """
        columns = self.columns.guess(separator)
        return EntityFields(self, columns, entity_field_names(columns, self.source, taken))

    def notes(self, fields: EntityFields, table: str, with_rows: int) -> list[str]:
        """What is odd about the file, and how many users or items only one of the tables has, one line each.

        Args:
            fields: The result of ``guess``.
            table: Name of the table of rows.
            with_rows: Number of users or items that it has; their ids have been added to ``all_ids``.
        """
        notes = [*self._table.notes, *self._id_notes]
        notes += [note for column in fields.columns.values() for note in column.notes]
        for name, field in fields.names.items():
            if fields.is_prefixed(name):
                notes.append(f"{self.file}: column {name!r} is called {field}, as another field has its name")
        notes += self.columns.list_notes(fields.columns, self.frames)
        number, what = self.all_ids.count(), f"{self.source}s"
        if number > with_rows:
            notes.append(f"{self.file}: {number - with_rows:,} of {self.rows:,} {what} have no row in {table}")
        if number > self.rows:
            missing = f"{number - self.rows:,} of {with_rows:,} {what} of {table}"
            notes.append(f"{self.file}: {missing} are not in it, and have none of its features")
        return notes

    def frames(self, names: list[str]) -> Iterator[pl.DataFrame]:
        """Batches of rows with the ids, as text, and the columns ``names``."""
        for batch, ids in zip(self._table.tables([self.id_column, *names]), self._ids.frames(["id"]), strict=True):
            yield batch.frame.with_columns(ids["id"].alias(self.id_column))


@dataclass(frozen=True)
class EntityFields:
    """A table of users or items with the fields that its columns become.

    Attributes:
        table: The table.
        columns: Column: what it is, for all but the ids.
        names: Column: its field.
    """

    table: SideTable
    columns: Mapping[str, Column]
    names: Mapping[str, str]

    @property
    def rows(self) -> int:
        """Number of users or items in the table."""
        return self.table.rows

    @property
    def id_field(self) -> str:
        """The field of its ids."""
        return f"{self.table.source}_id"

    def words(self) -> dict[str, str]:
        """Field: its name in words."""
        return {
            field: (f"{self.table.source} {name}" if self.is_prefixed(name) else name).replace("_", " ").strip()
            or field
            for name, field in self.names.items()
        }

    def is_prefixed(self, column: str) -> bool:
        """Whether its field begins with ``user`` or ``item``, as another field has its name."""
        source = self.table.source
        return self.names[column].startswith(f"{source}_") and not column.strip().startswith(source)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Batches of rows by the names of fields, the ids first."""
        for frame in self.table.frames(list(self.columns)):
            converted = (
                column.convert(frame[name]).alias(self.names[name]) for name, column in self.columns.items()
            )
            yield pl.DataFrame([frame[self.table.id_column].alias(self.id_field), *converted])


class EntityJoin:
    """Joins the features of users or items of two tables by their ids, in bounded memory.

    Rows are distributed to files by the hash of their id, and each pair of files is joined by itself.

    Args:
        folder: An empty folder for temporary files.
        id_field: The column of ids.
        number: Number of users or items, at most.
    """

    def __init__(self, folder: Path, id_field: str, number: int) -> None:
        self._id_field, self._parts = id_field, min(1 + number // _JOINED, _MOST_PARTS)
        self._spools = [
            [Spool(folder / f"{id_field}-{side}-{part}.arrow") for part in range(self._parts)] for side in (0, 1)
        ]

    def add(self, frame: pl.DataFrame) -> None:
        """Adds features from the table of rows; no id may come twice."""
        self._distribute(frame, self._spools[0])

    def _distribute(self, frame: pl.DataFrame, spools: list[Spool]) -> None:
        parts = hash_columns(frame[self._id_field]) % np.uint64(self._parts)
        for part, spool in enumerate(spools):
            rows = frame.filter(pl.Series(parts == part))
            if len(rows):
                spool.append(rows)

    def joined(self, others: Iterable[pl.DataFrame], fields: list[str]) -> Iterator[pl.DataFrame]:
        """The joined rows, each id once; a field is None where its table does not have the id.

        Args:
            others: Features from the other table; no id comes twice.
            fields: All fields.
        """
        for frame in others:
            self._distribute(frame, self._spools[1])
        for pair in zip(*self._spools, strict=True):
            for spool in pair:
                spool.finish()
            sides = [pl.concat(spool.frames(spool.names)) for spool in pair if spool.sizes]
            if not sides:
                continue
            joined = sides[0]
            if len(sides) == 2:
                joined = joined.join(
                    sides[1], on=self._id_field, how="full", coalesce=True, maintain_order="left_right"
                )
            missing = [pl.lit(None, pl.String).alias(field) for field in fields if field not in joined.columns]
            yield from joined.with_columns(missing).iter_slices(_WRITTEN)

"""Reads all columns of a table that the user does not name, to find out what each of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.infer_schema import Column, ColumnScan
from recbole_clickprompt.data.convert.lists import ListColumn
from recbole_clickprompt.data.convert.oddities import ListScan
from recbole_clickprompt.data.convert.table_options import Features

__all__ = ["ColumnScans"]


class ColumnScans:
    """The columns of a table, batch by batch.

    Args:
        file: Name of the file, for messages.
        names: The columns.
        features: Options for them.
        folder: For temporary files.
    """

    def __init__(self, file: str, names: list[str], features: Features, folder: Path) -> None:
        self._file, self._names, self._features, self._folder = file, names, features, folder
        self._columns: dict[str, ColumnScan] = {}
        self._texts: dict[str, ListScan] = {}

    def add(self, frame: pl.DataFrame) -> None:
        """Adds a batch. Raises DataError if a column is no text, no number and no list of either."""
        for name in self._names:
            if name not in self._columns:
                dtype, text_only = frame.schema[name], name in self._features.text_only
                place = f"{self._file}, column {name}"
                self._columns[name] = ColumnScan(place, name, dtype, self._folder, text_only=text_only)
                if dtype == pl.String and not text_only:
                    self._texts[name] = ListScan(name, self._folder)
            self._columns[name].add(frame[name])
            if name in self._texts:
                self._texts[name].add(frame[name])

    def lists(self) -> list[ListColumn]:
        """The columns of lists."""
        return [column.lists for column in self._columns.values() if column.lists]

    def guess(self, separator: str) -> dict[str, Column]:
        """Column: what it is; all batches must have been added. ``separator`` separates elements of lists."""
        return {name: column.guess(separator) for name, column in self._columns.items()}

    def list_notes(
        self, columns: Mapping[str, Column], read: Callable[[list[str]], Iterable[pl.DataFrame]]
    ) -> list[str]:
        """Notes on texts that look like lists.

        Args:
            columns: The result of ``guess``.
            read: Reads the table again, with some columns.
        """
        scans = {name: scan for name, scan in self._texts.items() if columns[name].kind == "token"}
        unclear = [name for name, scan in scans.items() if scan.wants_elements()]
        for frame in read(unclear) if unclear else ():
            for name in unclear:
                scans[name].add_elements(frame[name])
        return [note for scan in scans.values() for note in scan.notes()]

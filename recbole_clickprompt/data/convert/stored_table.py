"""A copy of a user's table on disk that can be read batch by batch, any number of times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.spool import NumberSpool, Spool
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.user_file import UserFile

__all__ = ["StoredTable"]


class StoredTable:
    """All rows of a file, copied to a format that is fast to read repeatedly.

    Args:
        source: The file.
        folder: An empty folder for temporary files.
        check: Called with file and column names before the second batch is read; raises DataError.
        prepare: Applied to each batch, such as to leave out columns.

    Attributes:
        file: Name of the file, for messages.
        names: Of the columns.
        rows: How many there are.
        notes: What is odd about the file, one line each.

    Raises:
        DataError: The file cannot be read, or not all of it.
    """

    def __init__(
        self,
        source: UserFile,
        folder: Path,
        check: Callable[[str, list[str]], None],
        prepare: Callable[[pl.DataFrame], pl.DataFrame],
    ) -> None:
        self.file, self.rows = source.file, 0
        self._spool = Spool(folder / "rows.arrow")
        folder.joinpath("lines").mkdir()
        self._skipped = NumberSpool(folder / "lines")
        self._first_lines: list[int] = []
        for frame, lines in source.batches():
            if not self._spool.sizes:
                check(self.file, frame.columns)
            self._spool.append(prepare(frame))
            # lines between two rows, such as blank ones; almost always zero, which takes no space on disk
            self._skipped.append(pl.Series(np.diff(lines, prepend=lines[:1]).clip(1) - 1, dtype=pl.Int32))
            self._first_lines.append(int(lines[0]) if len(lines) else 1)
            self.rows += len(frame)
        self._spool.finish()
        self._skipped.finish()
        self.names, self.notes = self._spool.names, source.notes

    def tables(self, names: Sequence[str]) -> Iterator[TextTable]:
        """The rows in batches, with the columns ``names``; a fault in them has the line of the file."""
        for number, frame in enumerate(self._spool.frames(names)):
            yield TextTable(frame, self.file, self._line_of(number))

    def _line_of(self, number: int) -> Callable[[int], int]:
        def line_of(row: int) -> int:
            skipped = next(part for index, part in enumerate(self._skipped.batches()) if index == number)
            return self._first_lines[number] + row + int(skipped[: row + 1].sum())

        return line_of

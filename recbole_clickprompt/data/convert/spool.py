"""Rows on disk, batch by batch, so that a table of any length can be read several times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

__all__ = ["NumberSpool", "Spool"]


class Spool:
    """Batches of rows in a file in Arrow's format: written in order, then read in order, any number of times.

    Args:
        path: The file to make; the caller removes it.

    Attributes:
        names: Of the columns; known from the first batch on.
        sizes: Rows of each batch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.sizes: list[int] = []
        self._stream = path.open("wb")
        self._writer: pa.RecordBatchFileWriter | None = None

    def append(self, frame: pl.DataFrame) -> None:
        """Adds one batch; all have the same columns."""
        table = frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self.names = frame.columns
            options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            self._writer = pa.ipc.new_file(self._stream, table.schema, options=options)
        self._writer.write_table(table)
        self.sizes.append(len(frame))

    def finish(self) -> None:
        """Closes the file, after which it can be read."""
        if self._writer is not None:
            self._writer.close()
        self._stream.close()

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The batches with the columns ``names`` only, in their order."""
        if self.sizes:
            with pa.OSFile(str(self.path)) as source:
                reader = self._open(source, names)
                for number in range(reader.num_record_batches):
                    yield _frame(reader.get_batch(number), names)

    def frame(self, number: int, names: Sequence[str]) -> pl.DataFrame:
        """One batch, as ``frames`` gives it."""
        with pa.OSFile(str(self.path)) as source:
            return _frame(self._open(source, names).get_batch(number), names)

    def _open(self, source: pa.OSFile, names: Sequence[str]) -> pa.RecordBatchFileReader:
        included = sorted(self.names.index(name) for name in names)
        return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=included, use_threads=False))


def _frame(batch: pa.RecordBatch, names: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(name, pl.from_arrow(batch.column(name))) for name in names})


class NumberSpool:
    """One column of numbers on disk, in the batches of the table that they belong to.

    Args:
        folder: Where the file is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spool = Spool(folder / "numbers.arrow")

    def append(self, numbers: pl.Series) -> None:
        """Adds the numbers of one batch."""
        self._spool.append(numbers.rename("number").to_frame())

    def restart(self) -> None:
        """Removes all numbers."""
        self._spool.finish()
        self._spool = Spool(self._spool.path)

    def finish(self) -> None:
        """Closes the file, after which it can be read."""
        self._spool.finish()

    def batches(self) -> Iterator[pl.Series]:
        """The numbers of each batch."""
        return (frame["number"] for frame in self._spool.frames(["number"]))

"""Tables of any length: raw rows read batch by batch, scores written as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.files import partial_path

__all__ = ["RowFile", "ScoreFile"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_CSV_BLOCK = 1 << 22  # bytes read at once
_PARQUET_ROWS = 1 << 14


class RowFile:
    """A ``.csv`` or ``.tsv`` (also ``.gz``) file with a header, or a ``.parquet`` file.

    Values of a text file are read as they stand there; an empty one is missing.

    Args:
        path: The file.

    Raises:
        DataError: It is missing, of another kind, empty or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        kinds = [suffix for suffix in path.suffixes if suffix != ".gz"]
        kind = kinds[-1] if kinds else ""
        if kind not in (*_DELIMITERS, ".parquet"):
            raise DataError(f"{path} must be a .csv, .tsv (also .gz) or .parquet file")
        if not path.is_file():
            raise DataError(f"there is no file {path}")
        if not path.stat().st_size:
            raise DataError(f"{path} is empty; it must hold a header and rows")
        with self._telling():
            self._source: Any
            if kind == ".parquet":
                self._source = pq.ParquetFile(path)
                self.names: list[str] = self._source.schema_arrow.names
            else:
                self._source = self._open_text(_DELIMITERS[kind])
                self.names = self._source.schema.names

    def _open_text(self, delimiter: str) -> pa_csv.CSVStreamingReader:
        with pa.input_stream(self.path) as stream:
            header = pa_csv.open_csv(
                stream, pa_csv.ReadOptions(block_size=_CSV_BLOCK), self._parsing(delimiter)
            ).schema.names
        return pa_csv.open_csv(
            pa.input_stream(self.path),
            pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
            self._parsing(delimiter),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )

    @staticmethod
    def _parsing(delimiter: str) -> pa_csv.ParseOptions:
        return pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)

    def batches(self) -> Iterator[pa.Table]:
        """The rows, in the order of the file.

        Raises:
            DataError: There are none, or the file is damaged.
        """
        rows = 0
        with self._telling():
            read = self._source
            for batch in read.iter_batches(_PARQUET_ROWS) if isinstance(read, pq.ParquetFile) else read:
                if len(batch):
                    rows += len(batch)
                    yield pa.Table.from_batches([batch])
        if not rows:
            raise DataError(f"{self.path} has no rows under its header")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path} cannot be read: {' '.join(str(error).split())}") from error


class ScoreFile:
    """A ``.csv`` or ``.parquet`` file that is there whole or not at all; a context manager.

    Args:
        path: The file; one that is there is replaced at the end.

    Raises:
        DataError: It is of another kind, or its folder does not exist.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".csv", ".parquet"):
            raise DataError(f"--output must be a .csv or .parquet file, got {path}")
        if not path.parent.is_dir():
            raise DataError(f"there is no folder {path.parent} to write {path.name} into")
        self.path, self._partial = path, partial_path(path)
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Adds rows, which all have the columns of the first ones."""
        if self._writer is None:
            writer = pq.ParquetWriter if self.path.suffix == ".parquet" else pa_csv.CSVWriter
            self._writer = writer(self._partial, table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> ScoreFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
                if kind is None:
                    self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)

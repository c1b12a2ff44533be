"""Files of any length: raw rows are read in batches, scores are written in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.files import partial_path, put_in_place, storage_errors
from recbole_clickprompt.serving.csv_rows import CsvRows

__all__ = ["RowFile", "ScoreFile"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_CSV_BLOCK = 1 << 22  # bytes read at once
_PARQUET_ROWS = 1 << 14


class RowFile:
    """A ``.csv`` or ``.tsv`` (also ``.gz``) file with a header, or a ``.parquet`` file.

    Values of a text file are read unchanged; an empty value is missing.

    Args:
        path: The file.
        quoting: In a text file, a quote at the beginning of a value opens a quoted value.

    Attributes:
        names: Names of the columns.

    Raises:
        DataError: It is missing, of another type, empty or damaged.
    """

    def __init__(self, path: Path, *, quoting: bool = True) -> None:
        self.path = path
        kinds = [suffix for suffix in path.suffixes if suffix != ".gz"]
        kind = kinds[-1] if kinds else ""
        if kind not in (*_DELIMITERS, ".parquet"):
            raise DataError(f"{path} must be a .csv, .tsv (also .gz) or .parquet file")
        if not path.is_file():
            raise DataError(f"there is no file {path}")
        if not path.stat().st_size:
            raise DataError(f"{path} is empty; it must hold a header and rows")
        self._source: CsvRows | _ParquetRows
        if kind == ".parquet":
            self._source = _ParquetRows(path)
        else:
            self._source = CsvRows(path, _DELIMITERS[kind], quoting=quoting, block=_CSV_BLOCK)
        self.names = self._source.names

    @property
    def rows(self) -> int:
        """Number of rows, counted independently of the batches; in a text file those read so far."""
        return self._source.rows

    @property
    def empty_lines(self) -> int:
        """Number of empty lines of a text file so far; they are not rows."""
        return self._source.empty_lines

    @property
    def expected_rows(self) -> int | None:
        """Number of rows of the whole file, in a text file estimated from those read so far; None before these."""
        fraction = self._source.fraction
        return round(self.rows / fraction) if self.rows and fraction else None

    def batches(self) -> Iterator[pa.Table]:
        """The rows, in the order of the file.

        Raises:
            DataError: There are no rows, or the file is damaged.
        """
        yield from self._source.tables()
        if not self.rows:
            raise DataError(f"{self.path} has no rows below its header")


class _ParquetRows:
    """Rows of a parquet file, with the interface of ``CsvRows``."""

    empty_lines = 0
    fraction = 1.0  # ``rows`` is known from the start

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._file_errors():
            self._file = pq.ParquetFile(path)
            self.names: list[str] = self._file.schema_arrow.names
            self.rows: int = self._file.metadata.num_rows

    def tables(self) -> Iterator[pa.Table]:
        with self._file_errors():
            for batch in self._file.iter_batches(_PARQUET_ROWS):
                if len(batch):
                    yield pa.Table.from_batches([batch])

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path} cannot be read: {' '.join(str(error).split())}") from error


class ScoreFile:
    """A ``.csv`` or ``.parquet`` file that is written as a whole or not at all; a context manager.

    Args:
        path: The file; an existing one is replaced at the end.

    Attributes:
        rows: Number of rows written so far.

    Raises:
        DataError: It has another type, or its folder does not exist.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".csv", ".parquet"):
            raise DataError(f"--output must be a .csv or .parquet file, got {path}")
        if not path.parent.is_dir():
            raise DataError(f"there is no folder {path.parent} to write {path.name} into")
        self.path, self._partial = path, partial_path(path)
        self._writer: pq.ParquetWriter | pa_csv.CSVWriter | None = None
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Adds rows with the columns of the first ones.

        Raises:
            StorageError: The file cannot be written.
            DataError: This kind of file cannot hold a column.
        """
        try:
            with storage_errors(self.path):
                if self._writer is None:
                    writer = pq.ParquetWriter if self.path.suffix == ".parquet" else pa_csv.CSVWriter
                    self._writer = writer(self._partial, table.schema)
                self._writer.write_table(table)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            types = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
            raise DataError(
                f"{self.path} cannot hold the columns {types}: {' '.join(str(error).split())}; write a .parquet "
                "file, or leave a column out of --keep"
            ) from error
        self.rows += len(table)

    def __enter__(self) -> ScoreFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._writer is not None:
                with storage_errors(self.path) if kind is None else suppress(Exception):
                    self._writer.close()
                    if kind is None:
                        put_in_place(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)

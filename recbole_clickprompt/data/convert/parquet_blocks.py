"""Reads Parquet files of any length in batches of rows, within bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbole_clickprompt.errors import DataError

__all__ = ["ParquetBlocks", "reject_bomb"]

_MOST_BYTES = 16 << 30  # of the values of a file
_BATCH_ROWS = 1 << 14
_BATCH_BYTES = 1 << 22  # of the values of a batch, by their mean length
_HARMLESS_BYTES = 1 << 27  # of the values of a dictionary, at most: need not be counted exactly
_BUFFER = 1 << 20  # bytes of a column that are read at once


class ParquetBlocks:
    """A .parquet file.

    Attributes:
        file: Name of the file, for messages.
        notes: Empty: nothing odd can be found in such a file.

    Raises:
        DataError: It is no Parquet file, or its values take more than 16 GiB.
    """

    def __init__(self, path: Path) -> None:
        self.file = str(path)
        self.notes: list[str] = []
        self._path = path

    def batches(self) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
        """Rows, and the number of each from 1 on, ``(rows,)`` int64.

        Raises:
            DataError: The file is damaged or has no rows.
        """
        size = reject_bomb(self._path)
        start = 1
        with self._errors(), pq.ParquetFile(self._path, buffer_size=_BUFFER, pre_buffer=False) as file:
            rows = file.metadata.num_rows
            if not rows:
                raise DataError(f"{self._path} has no rows")
            number = min(_BATCH_ROWS, max(1, _BATCH_BYTES * rows // max(size, 1)))
            for batch in file.iter_batches(number, use_threads=False):
                batch.validate(full=True)  # texts need not be UTF-8 in a damaged file
                frame = _plain(pl.DataFrame(pl.from_arrow(batch)))
                if len(frame):
                    yield frame, np.arange(start, start + len(frame))
                start += len(frame)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{self._path} is no parquet file: {' '.join(str(error).split())}") from error


def reject_bomb(path: Path) -> int:
    """Bytes of all values, at least; a dictionary stores a long value once, so a few kB can unpack to any size.

    Raises:
        DataError: There are more than 16 GiB.
    """
    total = 0
    try:
        metadata = pq.read_metadata(path)
        for group, index in itertools.product(range(metadata.num_row_groups), range(metadata.num_columns)):
            chunk = metadata.row_group(group).column(index)
            total += max(chunk.total_uncompressed_size, chunk.num_values)
            at_most = chunk.num_values * chunk.total_uncompressed_size
            is_dictionary = chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page
            if is_dictionary and at_most > _HARMLESS_BYTES:
                total += _text_bytes(path, group, chunk.path_in_schema)
            if total > _MOST_BYTES:
                raise DataError(
                    f"{path} has more than {_MOST_BYTES >> 30} GiB of values when unpacked (column "
                    f"{chunk.path_in_schema}); leave out columns or rows"
                )
    except (pa.ArrowException, OSError):
        pass  # reading the file reports what is wrong with it
    return total


def _text_bytes(path: Path, group: int, column: str) -> int:
    """Total length of the texts of a column, which are not unpacked; counted until it is too large."""
    total = 0
    with pq.ParquetFile(path, read_dictionary=[column], buffer_size=_BUFFER, pre_buffer=False) as file:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[column], use_threads=False):
            values = batch.column(0)
            while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
                values = values.flatten()
            if pa.types.is_dictionary(values.type):
                lengths = pc.binary_length(values.dictionary)
                total += pc.sum(lengths.take(values.indices)).as_py() or 0
            if total > _MOST_BYTES:
                break
    return total


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories as the text that they stand for, arrays as lists, a column of nothing as missing texts."""
    texts = (pl.Categorical, pl.Enum, pl.Null)
    for column, dtype in frame.schema.items():
        plain: pl.DataType = dtype
        if isinstance(dtype, texts):
            plain = pl.String()
        elif isinstance(dtype, pl.List | pl.Array):
            plain = pl.List(pl.String if isinstance(dtype.inner, texts) else dtype.inner)
        frame = frame.with_columns(frame[column].cast(plain))
    return frame

"""Reads a user's own table: csv, tsv or parquet."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.encoding import decode
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.unpacking import read_file
from recbole_clickprompt.errors import DataError

__all__ = ["read_user_file"]

_MOST_BYTES = 16 << 30  # of a parquet file's values; beyond that no memory has them
_NO_QUOTING = "; where quotes are ordinary characters of the text, pass --no-quoting"


def read_user_file(path: Path, *, label: str, quoting: bool = True) -> TextTable:
    """All rows of the file.

    Args:
        path: A .csv or .tsv (also .gz) with a header, in UTF-8, or a .parquet.
        label: A column of numbers, see ``read_csv``.
        quoting: Whether a value of csv may be in quotes.

    Raises:
        DataError: The file cannot be read, or not all of it.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.suffix == ".parquet":
        _refuse_bomb(path)
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError(f"{path} is no parquet file: {' '.join(str(error).split())}") from error
        return TextTable(_plain(frame), str(path), lambda row: row + 1)
    text = decode(read_file(path), str(path), "utf-8")
    return read_csv(
        text,
        str(path),
        separator=_separator(path, text, quoting),
        quoting=quoting,
        number_column=label,
        quote_remedy=_NO_QUOTING,
    )


def _refuse_bomb(path: Path) -> None:
    """A dictionary says a long value once, and some kB then stand for all memory: adds up what the rows have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(path)
        total = unread = 0  # what it is, and at most, of the columns that are not looked into
        for group, index in itertools.product(range(about.num_row_groups), range(about.num_columns)):
            chunk = about.row_group(group).column(index)
            total += max(chunk.total_uncompressed_size, chunk.num_values)
            if chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page:
                at_most = chunk.num_values * chunk.total_uncompressed_size
                if total + unread + at_most <= _MOST_BYTES:
                    unread += at_most
                else:
                    total += _text_bytes(path, group, chunk.path_in_schema)
            if total > _MOST_BYTES:
                raise DataError(
                    f"{path} has more than {_MOST_BYTES >> 30} GiB of values when unpacked (column "
                    f"{chunk.path_in_schema}); leave out columns or rows"
                )
    except (pa.ArrowException, OSError):
        return  # who reads the file says what is wrong with it


def _text_bytes(path: Path, group: int, column: str) -> int:
    """How long the texts of a column are together, without unpacking them; counted until they are too long."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    total = 0
    with pq.ParquetFile(path, read_dictionary=[column]) as file:
        for batch in file.iter_batches(1 << 20, row_groups=[group], columns=[column]):
            values = batch.column(0)
            while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
                values = values.flatten()
            if pa.types.is_dictionary(values.type):
                lengths = pc.binary_length(values.dictionary)
                total += pc.sum(lengths.take(values.indices)).as_py() or 0
            if total > _MOST_BYTES:
                break
    return total


def _separator(path: Path, text: str, quoting: bool) -> str:
    """A tab in a .tsv; else what the header has most of outside quotes: comma, tab, semicolon or bar."""
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return "\t"
    header = next(iter(text.lstrip("\r\n").splitlines()), "")
    if quoting:
        header = re.sub(r'"[^"]*"', "", header)
    return max(",\t;|", key=header.count)


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

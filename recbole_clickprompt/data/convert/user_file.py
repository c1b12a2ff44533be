"""Reads a user's own table: csv, tsv or parquet."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.encoding import decode
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.unpacking import read_file
from recbole_clickprompt.errors import DataError

__all__ = ["read_user_file"]

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
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
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

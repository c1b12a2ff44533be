"""Reads atomic files without the losses of RecBole's reader.

RecBole takes the words "None", "NA", "null" and the like for missing values, a title that begins with a quote for
a quoted value even where its own tools wrote it without quoting, and fills rows that are too short.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from recbole_clickprompt.data.convert.characters import decode
from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.table import TextTable, read_lines
from recbole_clickprompt.errors import DataError

__all__ = ["NO_NUMBER", "read_atomic"]

# As pandas has them: here they stand for a missing number, never for a missing text
NO_NUMBER = sorted(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
_TYPES = ("token", "token_seq", "float", "float_seq")


def read_atomic(
    path: Path, *, separator: str, encoding: str, wanted: Callable[[str], bool]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """An atomic file as a table.

    Args:
        path: The file.
        separator: Between the values.
        encoding: Of the file.
        wanted: Whether to read a field.

    Returns:
        The table, a column a field in the order of the file, numbers for ``float`` and text for all others; and
        the type of each field.

    Raises:
        DataError: The file is empty, not text, not rectangular, or holds something else than its header says; by
            line and column.
    """
    header = _header(path, separator, encoding)
    names = [name for name in header if wanted(name.partition(":")[0])]
    quoted = _is_quoted(path, separator)
    try:
        table = pa_csv.read_csv(
            path,
            pa_csv.ReadOptions(use_threads=False, block_size=1 << 26, encoding=encoding),
            pa_csv.ParseOptions(
                delimiter=separator, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=names,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        columns = {name.partition(":")[0]: _column(table[name], name.partition(":")[2]) for name in names}
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        _tell(path, separator, encoding, header, quoted)
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
    return pd.DataFrame(columns), {name.partition(":")[0]: name.partition(":")[2] for name in names}


def _column(values: pa.ChunkedArray, kind: str) -> pd.Series:
    if kind != "float":
        return values.to_pandas()
    missing = pc.is_in(values, value_set=pa.array(NO_NUMBER))
    return pc.if_else(missing, pa.scalar(None, pa.string()), values).cast(pa.float64()).to_pandas()


def _header(path: Path, separator: str, encoding: str) -> list[str]:
    with path.open("rb") as stream:
        first = decode(stream.readline(), str(path), encoding).rstrip("\r\n")
    if not first:
        raise DataError(f"{path} is empty; its first line must name the fields, such as user_id:token")
    header = first.split(separator)
    for column, name in enumerate(header, 1):
        field, _, kind = name.partition(":")
        if not field or kind not in _TYPES:
            raise DataError(
                f"{path}, line 1, column {column}: {name!r} must be a name, a colon and one of {', '.join(_TYPES)}"
            )
        if field in [other.partition(":")[0] for other in header[: column - 1]]:
            raise DataError(f"{path}, line 1, column {column}: {field!r} is in the header twice")
    return header


def _is_quoted(path: Path, separator: str) -> bool:
    """Whether a quote at the beginning of a value is csv quoting, or part of a value that was written as it is."""
    begin = re.compile(b'(?:^|[\\n\\r]|%s)(?=")' % re.escape(separator.encode()))
    value = re.compile(b'"([^"]*(?:""[^"]*)*)"(?=%s|\\r?\\n|\\Z)' % re.escape(separator.encode()))
    well_formed, doubled, at = True, False, 0
    if not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b'"') < 0:
            return False
        while found := begin.search(content, at):
            match = value.match(content, found.end())
            if match is None:
                well_formed = False
                at = found.end() + 1
            else:
                doubled |= b'""' in match[1]
                at = match.end()
            if doubled and not well_formed:
                line = content[: found.end()].count(b"\n") + 1
                raise DataError(
                    f"{path}, line {line}: some values are quoted and one begins with a quote that is not closed"
                )
    return well_formed


def _tell(path: Path, separator: str, encoding: str, header: list[str], quoted: bool) -> None:
    """Raises DataError with the place of the fault, read again slowly."""
    text = decode(path.read_bytes(), str(path), encoding)
    if quoted:
        table = read_csv(text, str(path), separator=separator)
    else:
        table = read_lines(text.partition("\n")[2], str(path), separator, header, first_line=2)
    for name in header:
        if name.endswith(":float"):
            frame = table.frame.with_columns(pl.col(name).replace(NO_NUMBER, None))
            TextTable(frame, table.file, table.line_of).with_numbers(pl.Float64, name)

"""Reads atomic files without losing values or rows, as RecBole's reader does.

RecBole reads words such as "None", "NA" and "null" as missing values, reads a quote at the beginning of a value as
CSV quoting, so that rows up to the next quote disappear, and pads rows that are too short. Here a quote is an
ordinary character unless the setting ``quoting`` is ``csv``.
"""

from __future__ import annotations

import csv
import mmap
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.encoding import decode
from recbole_clickprompt.data.convert.quotes import refuse_swallowed_rows
from recbole_clickprompt.data.convert.table import read_lines
from recbole_clickprompt.data.numbers import parse_arrow_numbers
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.line_range import LineRange

__all__ = ["AtomicTable", "read_atomic"]

_TYPES = ("token", "token_seq", "float", "float_seq")
_REMEDY = "; leave out `quoting: csv` where quotes are ordinary characters"


class AtomicTable(NamedTuple):
    """The content of an atomic file.

    Attributes:
        frame: One column per field in the order of the file: numbers for ``float``, NaN if missing or infinite,
            and strings for all other types, None if missing.
        types: Type of each field.
        infinite: By field, the rows that contain an infinite number.
        line_of: Returns the line number of a row; rows are counted from 0.
        looks_quoted: Whether quotes were read as ordinary characters although all of them could be CSV quoting.
    """

    frame: pd.DataFrame
    types: dict[str, str]
    infinite: dict[str, list[int]]
    line_of: Callable[[int], int]
    looks_quoted: bool


def read_atomic(
    path: Path,
    *,
    separator: str,
    encoding: str,
    quoted: bool,
    wanted: Callable[[str], bool],
    part: tuple[int, int] = (0, 1),
) -> AtomicTable:
    """Reads the wanted fields; every row of the file, or of a part of it, is a row of the table.

    Args:
        path: The file.
        separator: Separator of the values.
        encoding: Encoding of the file.
        quoted: Whether values may be quoted, as in CSV files.
        wanted: Whether to read a field, given its name.
        part: Number of the part to read, from 0, and the number of parts of about equal size that the file is
            divided into; a file whose values may be quoted has one.

    Raises:
        DataError: The file is empty, not text, not rectangular, or does not match its header; gives line and
            column.
    """
    header = _header(path, separator, encoding, quoted=quoted)
    names = [name for name in header if wanted(name.partition(":")[0])]
    lines = LineRange.of(path, *part)
    looks_quoted = _check_bytes(lines, separator, encoding, quoted=quoted)
    line_of: Callable[[int], int]
    if quoted:
        text = decode(path.read_bytes(), str(path), encoding)
        number = next((name for name in header if name.endswith(":float")), None)
        refuse_swallowed_rows(text, str(path), separator, header, number, _REMEDY)
        table = read_csv(text, str(path), separator=separator, quote_remedy=_REMEDY)
        texts, line_of = table.frame.select(names).to_arrow(), table.line_of
    else:
        line_of = lines.line_of
        texts = _read_unquoted(lines, separator, encoding, header, names)
    columns, infinite = {}, {}
    for name in names:
        field, _, kind = name.partition(":")
        if kind != "float":
            columns[field] = texts[name].to_pandas()
            continue
        parsed = parse_arrow_numbers(texts[name])
        if rows := pc.indices_nonzero(parsed.invalid).to_pylist():
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            value = texts[name][rows[0]].as_py()
            raise DataError(
                f"{path}, line {line_of(rows[0])}, column {name}: {value[:60]!r} is not a number{more}"
            )
        columns[field] = parsed.values.to_pandas()
        if rows := pc.indices_nonzero(parsed.infinite).to_pylist():
            infinite[field] = rows
    types = dict(name.split(":") for name in names)
    return AtomicTable(pd.DataFrame(columns), types, infinite, line_of, looks_quoted and not quoted)


def _read_unquoted(
    lines: LineRange, separator: str, encoding: str, header: list[str], names: list[str]
) -> pa.Table:
    if not lines.have_content():
        return pa.table({name: pa.array([], pa.string()) for name in names})
    path = lines.path
    try:
        return pa_csv.read_csv(
            lines.open(),
            pa_csv.ReadOptions(use_threads=False, block_size=1 << 26, encoding=encoding, column_names=header),
            pa_csv.ParseOptions(delimiter=separator, quote_char=False, newlines_in_values=False),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=names,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        first_line = lines.first_line()
        text = decode(lines.read(), str(path), encoding, first_line=first_line)
        try:  # a slower reader, to locate the fault
            read_lines(text, str(path), separator, header, first_line=first_line)
        except DataError as fault:
            if '"' in text:
                raise DataError(f"{fault}; set `quoting: csv` if values are in quotes") from error
            raise
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error


def _header(path: Path, separator: str, encoding: str, *, quoted: bool) -> list[str]:
    with path.open("rb") as stream:
        first = decode(stream.readline(), str(path), encoding).rstrip("\r\n")
    if not first:
        raise DataError(f"{path} is empty; its first line must list the fields, such as user_id:token")
    header = next(csv.reader([first], delimiter=separator)) if quoted else first.split(separator)
    for column, name in enumerate(header, 1):
        field, _, kind = name.partition(":")
        if not field or kind not in _TYPES:
            other = re.search(r":(?:token|float)(?:_seq)?(\W+)\w+:(?:token|float)", name)
            hint = f"; if the fields are separated by {other[1]!r}, set field_separator" if other else ""
            hint += "; set `quoting: csv` if values are in quotes" if '"' in name and not quoted else ""
            raise DataError(
                f"{path}, line 1, column {column}: {name!r} must be a name, a colon and one of "
                f"{', '.join(_TYPES)}{hint}"
            )
        if field in [other.partition(":")[0] for other in header[: column - 1]]:
            raise DataError(f"{path}, line 1, column {column}: {field!r} occurs twice in the header")
    return header


def _check_bytes(lines: LineRange, separator: str, encoding: str, *, quoted: bool) -> bool:
    """Rejects NUL characters, after which pandas does not compare strings, and carriage returns inside a line.

    Returns:
        Whether quotes look like CSV quoting.
    """
    path, end = lines.path, lines.end
    begin = 0 if lines.is_first else lines.begin  # with the header
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"\0", begin, end) >= 0:
            decode(content[:end], str(path), encoding)  # raises with the position
            raise DataError(f"{path} contains a NUL character; the file is damaged")
        if not quoted and (lone := re.compile(rb"\r(?!\n)").search(content, begin, end)):
            line = content[: lone.start()].count(b"\n") + 1
            raise DataError(
                f"{path}, line {line}: a carriage return inside the line; lines must end in a line feed, and "
                "values may contain neither"
            )
        return content.find(b'"', begin, end) >= 0 and _looks_quoted(content, separator, begin, end)


def _looks_quoted(content: mmap.mmap, separator: str, begin_at: int, end: int) -> bool:
    begin = re.compile(b'(?:^|[\\n\\r]|%s)(?=")' % re.escape(separator.encode()))
    value = re.compile(b'"([^"]*(?:""[^"]*)*)"(?=%s|\\r?\\n|\\Z)' % re.escape(separator.encode()))
    doubled, position = False, max(begin_at - 1, 0)  # with the end of the line before
    while found := begin.search(content, position, end):
        match = value.match(content, found.end(), end)
        if match is None:
            return False
        doubled |= b'""' in match[1]
        position = match.end()
    return doubled

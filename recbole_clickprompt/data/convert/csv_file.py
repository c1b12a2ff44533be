"""Reads csv files strictly: fast by pyarrow, and where that finds a fault, slowly by Python to tell its line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.errors import DataError

__all__ = ["read_csv"]


def read_csv(
    text: str,
    file: str,
    *,
    separator: str = ",",
    escape: str | None = None,
    required: Iterable[str] = (),
    missing: Sequence[str] = ("",),
) -> TextTable:
    """A table with a header and quoted values.

    Args:
        text: All of the file.
        file: Its name, for messages.
        separator: Between the values.
        escape: The character before a quote inside quotes, where that is not another quote.
        required: Columns that must be there.
        missing: Values that stand for none where they are not quoted.

    Raises:
        DataError: An empty file, a repeated or missing column, a row that is too long or short, or a quote that
            is never closed.
    """
    if not text.strip():
        raise DataError(f"{file} is empty")
    slowly = _Rows(text, file, separator, escape)
    _, header = next(iter(slowly))
    _check_header(header, file, required)
    # pyarrow takes a quote that is never closed for a long value
    if '"' in text:
        slowly.check(header)
    try:
        table = _parse(text, header, separator, escape, missing)
    except pa.ArrowInvalid as error:
        slowly.check(header)
        raise DataError(f"{file}: {error}") from error
    if not table.num_rows:
        raise DataError(f"{file} has a header and no rows")
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.all().replace("", None))
    return TextTable(frame, file, slowly.line_of)


def _check_header(header: Sequence[str], file: str, required: Iterable[str]) -> None:
    for column, name in enumerate(header, 1):
        if name in header[: column - 1]:
            raise DataError(f"{file}, line 1, column {column}: {name!r} is in the header twice")
    for name in required:
        if name not in header:
            raise DataError(f"{file}, line 1: there is no column {name!r}; there are {', '.join(header)}")


def _parse(
    text: str, header: Sequence[str], separator: str, escape: str | None, missing: Sequence[str]
) -> pa.Table:
    return pa_csv.read_csv(
        io.BytesIO(text.encode()),
        pa_csv.ReadOptions(use_threads=False, block_size=1 << 26),
        pa_csv.ParseOptions(
            delimiter=separator, escape_char=escape or False, double_quote=not escape, newlines_in_values=True
        ),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            null_values=list(missing),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


@dataclass(frozen=True)
class _Rows:
    """The first line and the values of each row, slowly, by Python's csv reader; the header comes first."""

    text: str
    file: str
    separator: str
    escape: str | None

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        # A published file with escapes may hold bare quotes too, which strict reading would refuse
        reader = csv.reader(
            io.StringIO(self.text, newline=""),
            delimiter=self.separator,
            escapechar=self.escape,
            doublequote=not self.escape,
            strict=not self.escape,
        )
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise DataError(f"{self.file}, line {line}: {_plainly(str(error))}") from error
            if row is None:
                return
            if row:
                yield line, row

    def line_of(self, row: int) -> int:
        """Line of a row, which is counted from 0 behind the header."""
        return next(islice(self, row + 1, None))[0]

    def check(self, header: Sequence[str]) -> None:
        """Raises DataError for a row that is longer or shorter than the header, or a quote never closed."""
        line = 1
        for line, row in self:
            if len(row) != len(header):
                raise DataError(
                    f"{self.file}, line {line}: {len(row)} values where the header has {len(header)} columns, "
                    f"{self.separator.join(header)}"
                )
        if self.escape and re.sub(r"\\.", "", self.text).count('"') % 2:
            raise DataError(f"{self.file}, line {line}: a quote is opened and never closed, here or before")


def _plainly(reason: str) -> str:
    if "unexpected end" in reason:
        return "a quote is opened and never closed"
    if "expected after" in reason:
        return f"a quote is closed in the middle of a value, or one before it never ({reason})"
    if "field limit" in reason:
        return "a value has more than 131072 characters; is a quote never closed before it?"
    return reason

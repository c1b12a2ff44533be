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

from recbole_clickprompt.data.convert.quotes import allow_long_values, refuse_swallowed_rows, unclosed_quote
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
    quoting: bool = True,
    number_column: str | None = None,
    quote_remedy: str = "",
) -> TextTable:
    """A table with a header; as many rows as the file has, or an error.

    Args:
        text: All of the file.
        file: Its name, for messages.
        separator: Between the values.
        escape: The character before a quote inside quotes, where that is not another quote.
        required: Columns that must be there.
        missing: Values that stand for none where they are not quoted.
        quoting: Whether a value may be in quotes; else a quote is a character like any other.
        number_column: A column of numbers, by which rows are found that a stray quote has made part of a value;
            None for files known to have no stray quotes. Notes tell of other values that span lines.
        quote_remedy: What to do about a fault of a quote, as it ends the message.

    Raises:
        DataError: An empty file, a repeated or missing column, a row that is too long or short, a quote that is
            never closed, or one that has whole rows behind it.
    """
    if not text.strip():
        raise DataError(f"{file} is empty")
    quoted = quoting and '"' in text
    rows = _Rows(text, file, separator, escape, quoted or bool(quoting and escape), quote_remedy)
    _, header = next(iter(rows))
    _check_header(header, file, required, quote_remedy)
    notes: list[str] = []
    if quoted:
        # pyarrow takes a quote that is never closed for a long value
        number = rows.check(header)
        if number_column in header:
            column = str(number_column)
            notes = refuse_swallowed_rows(text, file, separator, header, column, quote_remedy, escape)
    else:
        number = rows.count()
    try:
        table = _parse(text, header, separator, escape, missing, quoting)
    except pa.ArrowInvalid as error:
        rows.check(header)
        raise DataError(f"{file}: {error}") from error
    if not table.num_rows:
        raise DataError(f"{file} has a header and no rows")
    if table.num_rows != number:
        raise DataError(f"{file}: {table.num_rows} rows were read of {number}; its lines or quotes are irregular")
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.all().replace("", None))
    frame.columns = header  # polars makes up a name for a column without one
    return TextTable(frame, file, rows.line_of, tuple(notes))


def _check_header(header: Sequence[str], file: str, required: Iterable[str], quote_remedy: str) -> None:
    for column, name in enumerate(header, 1):
        if "\n" in name or "\r" in name:
            raise DataError(
                f"{file}, line 1, column {column}: a quote opens here and closes lines later{quote_remedy}"
            )
        if name in header[: column - 1]:
            raise DataError(f"{file}, line 1, column {column}: {name!r} is in the header twice")
    for name in required:
        if name not in header:
            raise DataError(f"{file}, line 1: there is no column {name!r}; there are {', '.join(header)}")


def _parse(
    text: str, header: Sequence[str], separator: str, escape: str | None, missing: Sequence[str], quoting: bool
) -> pa.Table:
    return pa_csv.read_csv(
        io.BytesIO(text.encode()),
        pa_csv.ReadOptions(use_threads=False, block_size=1 << 26),
        pa_csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if quoting else False,
            escape_char=escape or False,
            double_quote=quoting and not escape,
            newlines_in_values=quoting,
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
    """The first line and the values of each row, slowly; the header comes first, and blank lines are no rows."""

    text: str
    file: str
    separator: str
    escape: str | None
    quoting: bool
    remedy: str

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self._by_csv() if self.quoting else self._by_line()

    def _by_line(self) -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(io.StringIO(self.text, newline=None), 1):
            if line != "\n":
                yield number, line.rstrip("\n").split(self.separator)

    def _by_csv(self) -> Iterator[tuple[int, list[str]]]:
        allow_long_values(self.text)
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
                raise self._fault(line, str(error)) from error
            if row is None:
                return
            if row:
                yield line, row

    def line_of(self, row: int) -> int:
        """Line of a row, which is counted from 0 behind the header."""
        return next(islice(self, row + 1, None))[0]

    def count(self) -> int:
        """Number of rows behind the header."""
        return sum(1 for _ in self) - 1

    def check(self, header: Sequence[str]) -> int:
        """Number of rows behind the header.

        Raises:
            DataError: A row that is longer or shorter than the header, or a quote never closed.
        """
        number, line = -1, 1
        for line, row in self:
            number += 1
            if len(row) != len(header):
                is_joined = self.quoting and any(self.separator in value or "\n" in value for value in row)
                raise DataError(
                    f"{self.file}, line {line}: {len(row)} values where the header has {len(header)} columns, "
                    f"{self.separator.join(header)}, separated by {self.separator!r}"
                    f"{self.remedy if is_joined else ''}"
                )
        if self.escape and re.sub(r"\\.", "", self.text).count('"') % 2:
            raise DataError(f"{self.file}, line {line}: a quote is opened and never closed, here or before")
        return number

    def _fault(self, line: int, reason: str) -> DataError:
        opened = unclosed_quote(self.text, self.separator)
        if opened and "unexpected end" in reason:
            line, reason = opened, "a quote is opened and never closed"
        elif "expected after" in reason:
            reason = f"a quote is closed in the middle of a value, or one before it never ({reason})"
        return DataError(f"{self.file}, line {line}: {reason}{self.remedy}")

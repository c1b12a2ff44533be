"""Reads whole csv files strictly: by pyarrow, and by Python's csv module to find the line of a fault."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from recbole_clickprompt.data.convert.csv_records import CsvRecords
from recbole_clickprompt.data.convert.quotes import refuse_swallowed_rows
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.errors import DataError

__all__ = ["check_header", "parse_csv", "read_csv"]


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
    """Parses a table with a header; no row is skipped.

    Args:
        text: The whole file.
        file: Its name, for messages.
        separator: Between the values.
        escape: The character before a quote inside quotes, where that is not another quote.
        required: Columns that must exist.
        missing: Unquoted values that stand for a missing one.
        quoting: Whether a value may be in quotes; else a quote is a character like any other.
        number_column: A column of numbers, by which rows are found that a stray quote has made part of a value;
            None for files known to have no stray quotes. Other values that span lines get a note.
        quote_remedy: What to do about a fault of a quote, as it ends the message.

    Raises:
        DataError: An empty file, a repeated or missing column, a row that is too long or short, a quote that is
            never closed, or one that has whole rows after it.
    """
    if not text.strip():
        raise DataError(f"{file} is empty")
    quoted = quoting and '"' in text
    records = CsvRecords(text, file, separator, escape, quoted or bool(quoting and escape), quote_remedy)
    _, header = next(iter(records))
    check_header(header, file, required, quote_remedy)
    notes: list[str] = []
    if quoted:
        # pyarrow takes a quote that is never closed for a long value
        number = len(records.check(header)) - 1
        if number_column in header:
            column = str(number_column)
            notes = refuse_swallowed_rows(text, file, separator, header, column, quote_remedy, escape)
    else:
        number = records.count() - 1
    try:
        table = parse_csv(text, header, separator, escape=escape, missing=missing, quoting=quoting)
    except pa.ArrowInvalid as error:
        records.check(header)
        raise DataError(f"{file}: {error}") from error
    if not table.num_rows:
        raise DataError(f"{file} has a header and no rows")
    if table.num_rows != number:
        raise DataError(f"{file}: {table.num_rows} rows were read of {number}; its lines or quotes are irregular")
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.all().replace("", None))
    frame.columns = header  # polars makes up a name for a column without one
    return TextTable(frame, file, records.line_of, tuple(notes))


def check_header(header: Sequence[str], file: str, required: Iterable[str], quote_remedy: str) -> None:
    """Raises DataError for a name with a line break, a name that comes twice, or a column that is missing."""
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


def parse_csv(
    text: str,
    header: Sequence[str],
    separator: str,
    *,
    escape: str | None = None,
    missing: Sequence[str] = ("",),
    quoting: bool = True,
    has_header: bool = True,
) -> pa.Table:
    """All columns as strings, parsed by pyarrow in this thread; arguments as for ``read_csv``.

    Args:
        text: Whole records, with the header first if ``has_header``.
        header: Names of the columns.

    Raises:
        pa.ArrowInvalid: The rows are not what the header says.
    """
    content = text.encode()
    return pa_csv.read_csv(
        io.BytesIO(content),
        pa_csv.ReadOptions(
            use_threads=False,
            block_size=min(len(content) + 1, 1 << 26),
            column_names=None if has_header else list(header),
        ),
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

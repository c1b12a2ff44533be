"""Strict readers of text tables: a fault is told by file, line and column, never skipped or guessed over."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from recbole_clickprompt.errors import DataError

__all__ = ["MOJIBAKE", "TextTable", "decode", "read_csv", "read_lines", "refuse_mojibake"]

# UTF-8 that was read as latin-1 or cp1252, as in "Ã©" for "é", or the mark of a lost character
MOJIBAKE = re.compile("\ufffd|[\u00c2-\u00c5][\u0080-\u00bf\u0152-\u0192\u2018-\u203a\u20ac\u2122]|\u00e2\u20ac")


@dataclass(frozen=True)
class TextTable:
    """The rows of a file, and where each came from.

    Attributes:
        frame: All columns as text; None where a value is missing.
        file: Name of the file.
        line_of: Line of a row, both counted as people do for lines and from 0 for rows.
    """

    frame: pl.DataFrame
    file: str
    line_of: Callable[[int], int]

    def place(self, row: int, column: str) -> str:
        """``"ratings.dat, line 3, column rating"``."""
        return f"{self.file}, line {self.line_of(row)}, column {column}"

    def with_numbers(self, dtype: type[pl.DataType], *columns: str) -> TextTable:
        """The same with columns as numbers.

        Raises:
            DataError: A value is no finite number of that type.
        """
        frame = self.frame
        for column in columns:
            texts = frame[column].str.strip_chars()
            values = texts.cast(dtype, strict=False)
            bad = values.is_null() & texts.is_not_null()
            if values.dtype.is_float():
                bad |= ~values.is_finite().fill_null(True)
            self.refuse(column, bad, "is no number" if values.dtype.is_float() else "is no whole number")
            frame = frame.with_columns(values.alias(column))
        return replace(self, frame=frame)

    def refuse_missing(self, *columns: str) -> None:
        """Raises DataError where one of ``columns`` has no value."""
        for column in columns:
            self.refuse(column, self.frame[column].is_null(), "is missing")

    def refuse_repeated(self, column: str) -> None:
        """Raises DataError where a value of ``column`` comes a second time."""
        self.refuse(column, ~self.frame[column].is_first_distinct(), "is there twice")

    def refuse_unknown(self, column: str, known: TextTable) -> None:
        """Raises DataError where a value of ``column`` is none of the same column of another table."""
        there = self.frame[column].is_in(known.frame[column].unique().implode())
        self.refuse(column, ~there, f"is not in {known.file}")

    def refuse(self, column: str, bad: pl.Series, why: str) -> None:
        """Raises DataError for the first row where ``bad`` holds, with the value and ``why``."""
        rows = bad.arg_true()
        if len(rows):
            row = int(rows[0])
            value = self.frame[column][row]
            shown = (
                repr(value if len(str(value)) < 60 else f"{str(value)[:60]}…") if value is not None else "a value"
            )
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            raise DataError(f"{self.place(row, column)}: {shown} {why}{more}")


def decode(content: bytes, file: str, encoding: str, errors: str = "strict") -> str:
    """The text of a file; ``errors`` as for ``bytes.decode``.

    Raises:
        DataError: A byte that ``encoding`` has no character for, by line and column; or a NUL.
    """
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        raise DataError(
            f"{file}, line {line}, column {column}: byte 0x{content[error.start]:02x} is no {encoding}; "
            "the file is damaged, or has been saved in another encoding"
        ) from error
    _refuse_text("\0", text, file, "a NUL character; the file is damaged")
    return text.removeprefix("\ufeff")


def refuse_mojibake(text: str, file: str) -> None:
    """Raises DataError, by line and column, for text that was decoded wrongly before it came here."""
    match = MOJIBAKE.search(text)
    if match:
        _refuse_text(
            match.group(),
            text,
            file,
            f"{match.group()!r}: the file has been saved in another encoding; fetch it again",
        )


def _refuse_text(part: str, text: str, file: str, what: str) -> None:
    at = text.find(part)
    if at >= 0:
        line = text.count("\n", 0, at) + 1
        raise DataError(f"{file}, line {line}, column {at - text.rfind(chr(10), 0, at)}: {what}")


def read_lines(text: str, file: str, separator: str, columns: Sequence[str], first_line: int = 1) -> TextTable:
    """A table without quotes and header, such as ``1::Toy Story (1995)::Comedy``, from ``first_line`` on.

    Raises:
        DataError: A line with more or fewer fields than ``columns``, or no line at all.
    """
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines == [""]:
        raise DataError(f"{file} is empty")
    parts = pl.Series("row", lines, dtype=pl.String).str.split(separator)
    wrong = (parts.list.len() != len(columns)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{file}, line {row + first_line}: {len(parts[row])} fields where {len(columns)} are expected, "
            f"{separator.join(columns)}"
        )
    frame = parts.to_frame().select(pl.col("row").list.get(i).alias(name) for i, name in enumerate(columns))
    return TextTable(frame.with_columns(pl.all().replace("", None)), file, lambda row: row + first_line)


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
    header = next(iter(_walk(text, file, separator, escape)))[1]
    for column, name in enumerate(header, 1):
        if name in header[: column - 1]:
            raise DataError(f"{file}, line 1, column {column}: {name!r} is in the header twice")
    for name in required:
        if name not in header:
            raise DataError(f"{file}, line 1: there is no column {name!r}; there are {', '.join(header)}")
    # pyarrow is fast but tells no lines, and takes a quote that is never closed for a long value
    if '"' in text:
        _check_rows(text, file, separator, escape, header)
    try:
        table = pa_csv.read_csv(
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
    except pa.ArrowInvalid as error:
        _check_rows(text, file, separator, escape, header)
        raise DataError(f"{file}: {error}") from error
    if not table.num_rows:
        raise DataError(f"{file} has a header and no rows")
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.all().replace("", None))

    def line_of(row: int) -> int:
        return next(line for i, (line, _) in enumerate(_walk(text, file, separator, escape)) if i == row + 1)

    return TextTable(frame, file, line_of)


def _walk(text: str, file: str, separator: str, escape: str | None) -> Iterator[tuple[int, list[str]]]:
    """The first line and the values of each row, slowly, by Python's csv reader; the header comes first."""
    # A published file with escapes may hold bare quotes too, which strict reading would refuse
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        escapechar=escape,
        doublequote=not escape,
        strict=not escape,
    )
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{file}, line {line}: {_plainly(str(error))}") from error
        if row is None:
            return
        if row:
            yield line, row


def _plainly(reason: str) -> str:
    if "unexpected end" in reason:
        return "a quote is opened and never closed"
    if "expected after" in reason:
        return f"a quote is closed in the middle of a value, or one before it never ({reason})"
    if "field limit" in reason:
        return "a value has more than 131072 characters; is a quote never closed before it?"
    return reason


def _check_rows(text: str, file: str, separator: str, escape: str | None, header: list[str]) -> None:
    line = 1
    for line, row in _walk(text, file, separator, escape):
        if len(row) != len(header):
            raise DataError(
                f"{file}, line {line}: {len(row)} values where the header has {len(header)} columns, "
                f"{separator.join(header)}"
            )
    if escape and re.sub(r"\\.", "", text).count('"') % 2:
        raise DataError(f"{file}, line {line}: a quote is opened and never closed, here or before")

"""Rows of a csv or tsv file of any length: quotes swallow no rows, and errors name the line."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from recbole_clickprompt.errors import DataError

__all__ = ["CsvRows"]

_BOM = b"\xef\xbb\xbf"
_LONGEST_VALUE = 1 << 24  # characters; limits memory if a quote is never closed
_NO_QUOTING = "if quotes are ordinary characters, pass --no-quoting"


class CsvRows:
    """A text file with a header, read in blocks of whole rows.

    pyarrow parses the blocks. If a value begins with a quote, it takes all lines up to the next quote as one
    value. A block that contains a quote is therefore also read by Python's csv module, which finds the ends of
    rows.

    Args:
        path: The file, compressed by gzip if it ends in ``.gz``.
        delimiter: Separates the values.
        quoting: A quote at the beginning of a value opens a quoted value; else it is an ordinary character.
        block: Bytes read at once.

    Attributes:
        names: Names of the columns.
        rows: Number of rows read so far.
        empty_lines: Number of empty lines so far; they are not rows.

    Raises:
        DataError: The file has no header or cannot be read.
    """

    def __init__(self, path: Path, delimiter: str, *, quoting: bool, block: int) -> None:
        self.path, self.delimiter, self.quoting, self._block = path, delimiter, quoting, block
        self.rows = self.empty_lines = 0
        self._line = 1  # number of the next line
        with self._file_errors():
            self._file = path.open("rb", buffering=0)
            raw = gzip.GzipFile(fileobj=self._file) if path.suffix == ".gz" else self._file
            self._stream = io.BufferedReader(raw, 1 << 20)
            self.names = self._header()

    @property
    def fraction(self) -> float:
        """How much of the file has been read, from 0 to 1; it reads ahead by up to a megabyte."""
        return 1.0 if self._file.closed else self._file.tell() / self.path.stat().st_size

    def tables(self) -> Iterator[pa.Table]:
        """The rows as text, in the order of the file; an empty value is null.

        Raises:
            DataError: A row is longer or shorter than the header, a quote is never closed or is closed inside a
                value, a quoted value may contain rows, or the text is not UTF-8 or contains NUL.
        """
        with self._file_errors(), self._file, self._stream:
            while lines := self._stream.readlines(self._block):
                if (table := self._table(lines)).num_rows:
                    yield table
                self._line += len(lines)

    def _table(self, lines: list[bytes]) -> pa.Table:
        block = b"".join(lines)
        self._check_text(block, 0)
        if (self.quoting and b'"' in block) or block.count(b"\r") > block.count(b"\r\n"):
            rows, empty_lines = self._check(lines)
            block = b"".join(lines)  # now with the rest of a row that spans the end of the block
        else:
            empty_lines = lines.count(b"\n") + lines.count(b"\r\n")
            rows = len(lines) - empty_lines
        try:
            table = self._parsed(block)
        except pa.ArrowInvalid as error:
            self._check(lines)
            raise DataError(f"{self.path} cannot be read: {' '.join(str(error).split())}") from error
        if table.num_rows != rows:
            raise DataError(
                f"{self.path}, lines {self._line} to {self._line + len(lines) - 1}: {rows} rows were read as "
                f"{table.num_rows}; convert the file to parquet"
            )
        self.rows += rows
        self.empty_lines += empty_lines
        return table

    def _parsed(self, block: bytes) -> pa.Table:
        if not block.strip(b"\r\n"):  # pyarrow fails on an empty block
            return pa.table({name: pa.array([], pa.string()) for name in self.names})
        return pa_csv.read_csv(
            pa.BufferReader(block),
            pa_csv.ReadOptions(use_threads=False, block_size=len(block), column_names=self.names),
            pa_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char='"' if self.quoting else False,
                newlines_in_values=self.quoting,
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )

    def _header(self) -> list[str]:
        if self._stream.peek(len(_BOM)).startswith(_BOM):
            self._stream.read(len(_BOM))
        while line := self._stream.readline():
            self._check_text(line, 0)
            lines = [line]
            names = next(self._records(lines))[1]
            if len(lines) > 1:
                raise self._fault(0, f"a quote opens in the header and is closed lines later; {_NO_QUOTING}")
            self._line += 1
            if names:
                return names
        raise DataError(f"{self.path} is empty; it must hold a header and rows")

    def _check(self, lines: list[bytes]) -> tuple[int, int]:
        """Counts rows and empty lines; appends further lines of the file if the last row continues there.

        Raises:
            DataError: A row is invalid.
        """
        rows = empty_lines = 0
        for start, values in self._records(lines):
            if not values:
                empty_lines += 1
                continue
            self._check_spans(lines, start, values)
            if len(values) != len(self.names):
                hint = f"; {_NO_QUOTING}" if any(self.delimiter in value for value in values) else ""
                names = ", ".join(map(repr, self.names))
                raise self._fault(
                    start, f"{len(values)} values where the header has {len(self.names)}: {names}{hint}"
                )
            rows += 1
        return rows, empty_lines

    def _check_spans(self, lines: list[bytes], start: int, values: list[str]) -> None:
        """Refuses a quoted value if a line of it, after its first, is a complete row when read without quoting."""
        for value in values:
            end = start + value.count("\n")
            for line in lines[start + 1 : end + 1]:
                if line.count(self.delimiter.encode()) == len(self.names) - 1:
                    raise self._fault(
                        start,
                        f"a quote opens here, and the quoted value ends in line {self._line + end}; a line in it "
                        f"could itself be a row: {_NO_QUOTING}; if it is a text of several lines, remove its "
                        "line breaks",
                    )
            start = end

    def _records(self, lines: list[bytes]) -> Iterator[tuple[int, list[str]]]:
        """Index of the first line and values of each row; an empty line has no values."""
        csv.field_size_limit(_LONGEST_VALUE)
        reader = csv.reader(
            self._extended(lines),
            delimiter=self.delimiter,
            strict=True,
            quoting=csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE,
        )
        while (start := reader.line_num) < len(lines):
            try:
                values = next(reader)
            except csv.Error as error:
                raise self._csv_fault(str(error), lines, start, reader.line_num) from error
            yield start, values

    def _extended(self, lines: list[bytes]) -> Iterator[str]:
        """The lines as text; if the reader needs more, the next line of the file is appended."""
        index = 0
        while True:
            if index == len(lines):
                if not (line := self._stream.readline()):
                    return
                self._check_text(line, index)
                lines.append(line)
            yield lines[index].decode()
            index += 1

    def _csv_fault(self, reason: str, lines: list[bytes], start: int, end: int) -> DataError:
        if "new-line" in reason:
            return self._fault(end - 1, "a carriage return inside a row; end lines with a line feed")
        delimiter = re.escape(self.delimiter)
        value = re.compile(rf'(?:"[^"]*(?:""[^"]*)*"|[^"{delimiter}][^{delimiter}]*|){delimiter}')
        text, at = b"".join(lines[start:end]).decode(), 0
        while whole := value.match(text, at):
            at = whole.end()
        opened = start + text.count("\n", 0, at)
        if "expected after" in reason:
            fault = f"a quote opens here and is closed in the middle of a value in line {self._line + end - 1}"
        elif "field limit" in reason:
            fault = f"a value has more than {_LONGEST_VALUE:,} characters; its quote may never be closed"
        else:
            fault = "a quote opens here and is never closed"
        return self._fault(opened, f"{fault}; {_NO_QUOTING}")

    def _check_text(self, content: bytes, index: int) -> None:
        """Raises DataError, with the line, for NUL or invalid UTF-8; ``index`` is the line's in its block."""
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = index + content.count(b"\n", 0, error.start)
            raise self._fault(
                line, f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
            ) from error
        if (at := content.find(b"\0")) >= 0:
            line = index + content.count(b"\n", 0, at)
            raise self._fault(line, "a NUL character; the file is damaged or not UTF-8")

    def _fault(self, index: int, problem: str) -> DataError:
        return DataError(f"{self.path}, line {self._line + index}: {problem}")

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self.path} cannot be read: {error}") from error

"""Reads csv files of any length in blocks of whole records, as strictly as ``csv_file`` reads whole files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import pyarrow as pa

from recbole_clickprompt.data.convert.csv_file import check_header, parse_csv
from recbole_clickprompt.data.convert.csv_records import CsvRecords
from recbole_clickprompt.data.convert.encoding import decode
from recbole_clickprompt.data.convert.quotes import Spans, end_of_records, find_spans
from recbole_clickprompt.data.convert.unpacking import archive_errors, open_gzip
from recbole_clickprompt.errors import DataError

__all__ = ["CsvBlocks"]

_BLOCK = 1 << 20  # bytes read at once
_LONGEST_RECORD = 1 << 24  # bytes, then characters: as much is held while the end of a record is searched
_LINE_END = re.compile("\r\n|\r|\n")


class CsvBlocks:
    """A .csv or .tsv file in UTF-8 with a header, compressed by gzip if its name ends in ``.gz``.

    Args:
        path: The file.
        quoting: Whether a value may be in quotes; else a quote is a character like any other.
        number_column: A column of numbers, see ``find_spans``.
        quote_remedy: What to do about a fault of a quote, as it ends the message.

    Attributes:
        file: Name of the file, for messages.
        notes: What is odd about the file, one line each; complete once all batches have been read.
    """

    def __init__(self, path: Path, *, quoting: bool, number_column: str, quote_remedy: str) -> None:
        self.file = str(path)
        self.notes: list[str] = []
        self._path, self._quoting = path, quoting
        self._number_column, self._remedy = number_column, quote_remedy
        self._separator = ""
        self._header: list[str] = []
        self._line = 1  # of the next record
        self._spans: Spans | None = None

    def batches(self) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
        """Rows as text, where None stands for an empty value, and the line of each, ``(rows,)`` int64.

        Raises:
            DataError: The file cannot be read or is empty or damaged, a column name comes twice, a row is longer
                or shorter than the header, or a quote is never closed or has whole rows after it.
        """
        has_rows = False
        for text in self._records():
            rows = text if self._header else self._without_header(text)
            frame, lines = self._parse(rows)
            self._line += _count_lines(rows)
            if len(frame):
                has_rows = True
                yield frame, lines
        if not self._header:
            raise DataError(f"{self.file} is empty")
        if not has_rows:
            raise DataError(f"{self.file} has a header and no rows")
        if self._spans:
            self.notes.append(self._spans.note(self.file, self._remedy))

    def _parse(self, text: str) -> tuple[pl.DataFrame, np.ndarray]:
        quoted = self._quoting and '"' in text
        records = CsvRecords(text, self.file, self._separator, None, quoted, self._remedy, self._line)
        if quoted:
            # pyarrow takes a quote that is never closed for a long value
            lines = records.check(self._header)
            self._add_spans(text)
        elif _has_blank_lines(text):
            lines = np.fromiter((line for line, _ in records), np.int64)
        else:
            lines = np.arange(self._line, self._line + _count_lines(text))
        if not len(lines):
            return pl.DataFrame(), lines
        try:
            table = parse_csv(text, self._header, self._separator, quoting=self._quoting, has_header=False)
        except pa.ArrowInvalid as error:
            records.check(self._header)
            raise DataError(f"{self.file}: {error}") from error
        if table.num_rows != len(lines):
            raise DataError(
                f"{self.file}: {table.num_rows} rows were read of {len(lines)} from line {lines[0]} on; its lines "
                "or quotes are irregular"
            )
        frame = pl.DataFrame(pl.from_arrow(table)).with_columns(pl.all().replace("", None))
        frame.columns = self._header  # polars makes up a name for a column without one
        return frame, lines

    def _without_header(self, text: str) -> str:
        """Reads the header, the first record; returns the records after it."""
        quoted = self._quoting and '"' in text
        line, self._header = next(
            iter(CsvRecords(text, self.file, self._separator, None, quoted, self._remedy, self._line))
        )
        check_header(self._header, self.file, (), self._remedy)
        end = next(islice(_LINE_END.finditer(text), line - self._line, None), None)
        self._line = line + 1
        return text[end.end() :] if end else ""

    def _add_spans(self, text: str) -> None:
        if self._number_column not in self._header:
            return
        spans = find_spans(
            text, self.file, self._separator, self._header, self._number_column, self._remedy,
            first_line=self._line,
        )  # fmt: skip
        if spans and self._spans:
            spans = Spans(self._spans.number + spans.number, self._spans.first)
        self._spans = spans or self._spans

    def _records(self) -> Iterator[str]:
        """The text of the file in blocks that end with a record."""
        rest = ""
        for text in self._texts():
            rest = rest + text if rest else text
            if not self._header and not rest.strip():
                continue  # blank lines before the header
            self._separator = self._separator or self._find_separator(rest)
            end = len(rest)
            if self._quoting and '"' in rest:
                end = end_of_records(rest, self._separator)
            if end:
                yield rest[:end]
                rest = rest[end:]
            if len(rest) > _LONGEST_RECORD:
                raise DataError(
                    f"{self.file}, line {self._line}: from here on a quote is opened and not closed within "
                    f"{_LONGEST_RECORD:,} characters{self._remedy}"
                )
        if rest and (self._header or rest.strip()):
            self._separator = self._separator or self._find_separator(rest)
            yield rest

    def _texts(self) -> Iterator[str]:
        """Whole lines, about ``_BLOCK`` bytes at a time."""
        line, rest = 1, b""
        with archive_errors(self._path), self._path.open("rb") as file:
            stream: IO[bytes] = file
            if self._path.suffix == ".gz":
                stream = open_gzip(file, file.tell, self._path)
            while block := stream.read(_BLOCK):
                rest += block
                # a carriage return at the end may be one half of a line end
                end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, len(rest) - 1)) + 1
                if end:
                    yield decode(rest[:end], self.file, "utf-8", first_line=line)
                    line += rest.count(b"\n", 0, end)
                    rest = rest[end:]
                if len(rest) > _LONGEST_RECORD:
                    raise DataError(f"{self.file}, line {line}: a line of more than {_LONGEST_RECORD:,} bytes")
        if rest:
            yield decode(rest, self.file, "utf-8", first_line=line)

    def _find_separator(self, text: str) -> str:
        """A tab in a .tsv; else the most frequent one in the header: comma, tab, semicolon or bar."""
        if self._path.name.removesuffix(".gz").endswith(".tsv"):
            return "\t"
        text = text.lstrip("\r\n")
        end = _LINE_END.search(text)
        header = text[: end.start() if end else None].splitlines()[0]
        if self._quoting:
            header = re.sub(r'"[^"]*"', "", header)
        return max(",\t;|", key=header.count)


def _count_lines(text: str) -> int:
    ends = text.count("\n")
    if "\r" in text:
        ends += text.count("\r") - text.count("\r\n")
    return ends + (not text.endswith(("\n", "\r")) and text != "")


def _has_blank_lines(text: str) -> bool:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.startswith("\n") or "\n\n" in text

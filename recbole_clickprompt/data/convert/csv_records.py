"""Records of csv text, read by Python: slower than pyarrow, but every record and every fault has its line."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from recbole_clickprompt.data.convert.quotes import allow_long_values, unclosed_quote
from recbole_clickprompt.errors import DataError

__all__ = ["CsvRecords"]


@dataclass(frozen=True)
class CsvRecords:
    """The first line and the values of each record; blank lines are no records.

    Attributes:
        text: Whole records.
        file: Name of the file, for messages.
        separator: Between the values.
        escape: The character before a quote inside quotes; None where that is another quote.
        quoting: Whether a value may be in quotes.
        remedy: What to do about a fault of a quote, as it ends a message.
        first_line: Line of the file at which the text begins.
    """

    text: str
    file: str
    separator: str
    escape: str | None
    quoting: bool
    remedy: str
    first_line: int = 1

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self._by_csv() if self.quoting else self._by_line()

    def line_of(self, row: int) -> int:
        """Line of a row, where the first record is the header and the record after it row 0."""
        return next(islice(self, row + 1, None))[0]

    def count(self) -> int:
        """Number of records."""
        return sum(1 for _ in self)

    def check(self, header: Sequence[str]) -> np.ndarray:
        """The line of each record, ``(records,)`` int64.

        Raises:
            DataError: A record that is longer or shorter than the header, or a quote that is never closed.
        """
        lines, line = array("q"), self.first_line
        for line, values in self:
            lines.append(line)
            if len(values) != len(header):
                is_joined = self.quoting and any(self.separator in value or "\n" in value for value in values)
                raise DataError(
                    f"{self.file}, line {line}: {len(values)} values where the header has {len(header)} columns, "
                    f"{self.separator.join(header)}, separated by {self.separator!r}"
                    f"{self.remedy if is_joined else ''}"
                )
        if self.escape and re.sub(r"\\.", "", self.text).count('"') % 2:
            raise DataError(f"{self.file}, line {line}: a quote is opened and never closed, here or before")
        return np.frombuffer(lines, np.int64) if lines else np.empty(0, np.int64)

    def _by_line(self) -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(io.StringIO(self.text, newline=None), self.first_line):
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
            line = reader.line_num + self.first_line
            try:
                values = next(reader, None)
            except csv.Error as error:
                raise self._fault(line, str(error)) from error
            if values is None:
                return
            if values:
                yield line, values

    def _fault(self, line: int, reason: str) -> DataError:
        opened = unclosed_quote(self.text, self.separator)
        if opened and "unexpected end" in reason:
            line, reason = opened - 1 + self.first_line, "a quote is opened and never closed"
        elif "expected after" in reason:
            reason = f"a quote is closed in the middle of a value, or one before it never ({reason})"
        return DataError(f"{self.file}, line {line}: {reason}{self.remedy}")

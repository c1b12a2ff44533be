"""A range of whole lines of a file, of which each of several processes reads one."""

from __future__ import annotations

import re
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import NamedTuple

__all__ = ["LineRange"]

_CHUNK = 1 << 24  # bytes


class LineRange(NamedTuple):
    """Whole lines of a file without its header.

    Attributes:
        path: The file.
        begin: Place of their first byte in the file.
        end: Place after their last byte.
        is_first: Whether they follow the header.
    """

    path: Path
    begin: int
    end: int
    is_first: bool

    @classmethod
    def of(cls, path: Path, number: int, parts: int) -> LineRange:
        """One of several ranges of about equal size; a line belongs to the range that its first byte is in.

        Args:
            path: A file whose lines end in a line feed; the first one is the header.
            number: Of the range, from 0.
            parts: Number of ranges; together they are the file.
        """
        size = path.stat().st_size
        with path.open("rb") as stream:
            stream.readline()
            header = stream.tell()

            def begin(part: int) -> int:
                place = header + (size - header) * part // parts
                if place > header:  # the next line begins here or later
                    stream.seek(place - 1)
                    stream.readline()
                    place = stream.tell()
                return place

            return cls(path, begin(number), begin(number + 1) if number + 1 < parts else size, number == 0)

    def read(self) -> bytes:
        """The lines."""
        with self.path.open("rb") as stream:
            stream.seek(self.begin)
            return stream.read(self.end - self.begin)

    def open(self) -> RawIOBase:
        """A stream of the lines."""
        return _Stream(self)

    def have_content(self) -> bool:
        """Whether any line is not empty."""
        with self.path.open("rb") as stream:
            stream.seek(self.begin)
            place = self.begin
            while place < self.end:
                chunk = stream.read(min(_CHUNK, self.end - place))
                if re.search(rb"[^\r\n]", chunk):
                    return True
                place += len(chunk)
        return False

    def first_line(self) -> int:
        """Number of the first line, from 1; reads the file up to it."""
        number, place = 1, 0
        with self.path.open("rb") as stream:
            while place < self.begin:
                chunk = stream.read(min(_CHUNK, self.begin - place))
                number, place = number + chunk.count(b"\n"), place + len(chunk)
        return number

    def line_of(self, row: int) -> int:
        """Line number of a row, which is counted from 0; empty lines are no rows. Reads the file up to it."""
        first = self.first_line()
        with self.path.open("rb") as stream:
            stream.seek(self.begin)
            content = (number for number, line in enumerate(stream, first) if line.strip(b"\r\n"))
            return next(islice(content, row, None))


class _Stream(RawIOBase):
    def __init__(self, lines: LineRange) -> None:
        self._file, self._left = lines.path.open("rb"), lines.end - lines.begin
        self._file.seek(lines.begin)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        read = self._file.readinto(memoryview(buffer)[: self._left])
        self._left -= read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()

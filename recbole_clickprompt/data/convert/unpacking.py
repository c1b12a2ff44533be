"""Unpacks compressed files within bounds, so that a small file cannot fill the memory or the disk."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from recbole_clickprompt.errors import DataError

__all__ = ["Bounded", "DamagedFile", "archive_errors", "open_gzip", "read_file", "read_whole", "refuse_ratio"]

_MOST_BYTES = 1 << 31  # unpacked into memory at once; the largest published file that is read like this has 80 MB
# csv and JSON lines unpack to 3 to 30 times as much. Deflate can reach 1,032 times, xz and bzip2 far more
_RATIO = 200
_FREE = 1 << 24  # below it the ratio means nothing: a small file may repeat one line
_PIECE = 1 << 16
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError,
    struct.error, RecursionError, OverflowError,
)  # fmt: skip


class DamagedFile(DataError):
    """A file that is truncated or damaged: ``path``."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is cut off or damaged ({reason}); fetch it again")
        self.path = path


class Bounded(io.RawIOBase):
    """A stream of unpacked bytes that raises DataError once it is far larger than its packed bytes.

    Args:
        stream: Unpacks while it is read.
        packed: Returns the bytes that it has read from the file so far, or will read in total.
        name: Name of the file, for the error.
        piece: Maximum number of bytes per read.
    """

    def __init__(self, stream: IO[bytes], packed: Callable[[], int], name: object, piece: int = _PIECE) -> None:
        super().__init__()
        self._stream, self._packed, self._name, self._piece = stream, packed, name, piece
        self.size = 0

    def packed(self) -> int:
        """A lower bound of the packed size of the bytes read so far."""
        return min(self._packed(), self.size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._stream.read(min(len(buffer), self._piece))
        buffer[: len(piece)] = piece
        self.size += len(piece)
        refuse_ratio(self._name, self.size, self._packed())
        return len(piece)


def refuse_ratio(name: object, size: int, packed: int) -> None:
    """Raises DataError if ``size`` bytes from ``packed`` bytes cannot be data."""
    if size > _FREE + _RATIO * packed:
        raise DataError(
            f"{name}: {packed} bytes unpack to {size} or more, over {_RATIO} times as many; that is no table of "
            "data. Fetch it again, or unpack it yourself and give the unpacked file"
        )


def open_gzip(stream: IO[bytes], packed: Callable[[], int], name: object) -> IO[bytes]:
    """The content of a gzip file, bounded; arguments as for ``Bounded``."""
    return io.BufferedReader(Bounded(cast(IO[bytes], gzip.GzipFile(fileobj=stream)), packed, name))


def read_whole(stream: IO[bytes], name: object) -> bytes:
    """All bytes of a stream.

    Raises:
        DataError: They are more than 2 GiB.
    """
    content = io.BytesIO()
    while piece := stream.read(1 << 20):
        if content.tell() + len(piece) > _MOST_BYTES:
            raise DataError(
                f"{name} unpacks to more than {_MOST_BYTES} bytes; unpack it, and give the unpacked file"
            )
        content.write(piece)
    return content.getvalue()


def read_file(path: Path) -> bytes:
    """All bytes of a file, without compression where its name ends in ``.gz``.

    Raises:
        DataError: It cannot be read, is damaged, or unpacks to more than it should.
    """
    with archive_errors(path), path.open("rb") as stream:
        return read_whole(open_gzip(stream, stream.tell, path), path) if path.suffix == ".gz" else stream.read()


@contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Turns Python's errors for a damaged or unreadable file into DataErrors."""
    try:
        yield
    except _BROKEN as error:
        raise DamagedFile(path, " ".join(str(error).split()) or type(error).__name__) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error

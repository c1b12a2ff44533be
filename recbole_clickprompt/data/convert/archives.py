"""Lists the members of a zip or tar archive and reads them; both are checked against archive bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol, cast

from recbole_clickprompt.data.convert.unpacking import Bounded, DamagedFile, refuse_ratio
from recbole_clickprompt.errors import DataError

__all__ = ["TARS", "Archive", "TarArchive", "ZipArchive"]

TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_MOST_MEMBERS = 10_000  # publishers' archives have a few dozen
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE
)  # fmt: skip
_LONGEST_EXTENSION = 1 << 20
# bzip2 and lzma members are unpacked as a whole per piece of input, so the pieces are small
_ZIP_PIECE = 1 << 12


class Archive(Protocol):
    """The interface that ``RawFiles`` needs."""

    def names(self) -> list[str]:
        """Paths of its files."""

    def open(self, name: str) -> AbstractContextManager[Bounded]:
        """The bytes of a file of the archive."""


class ZipArchive:
    """A zip archive.

    Args:
        path: The archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self.path)
        except (ValueError, NotImplementedError) as error:  # other faults are BadZipFile
            raise DamagedFile(self.path, str(error)) from error
        with archive:
            yield archive

    def names(self) -> list[str]:
        """Paths of its files.

        Raises:
            DataError: There are too many files, one is a link, or their total size is far larger than the archive.
        """
        with self._archive() as archive:
            entries = archive.infolist()
        _refuse_many(self.path, len(entries))
        refuse_ratio(self.path, sum(entry.file_size for entry in entries), self.path.stat().st_size)
        for entry in entries:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise DataError(f"{self.path}: {entry.filename!r} is a link; an archive of data holds only files")
        return [entry.filename for entry in entries if not entry.is_dir()]

    @contextmanager
    def open(self, name: str) -> Iterator[Bounded]:
        """The bytes of a file, at most as many as the archive declares.

        Raises:
            DataError: It is encrypted, or compressed by an unsupported method.
        """
        with self._archive() as archive:
            entry = archive.getinfo(name)
            packed = min(entry.compress_size, self.path.stat().st_size)
            refuse_ratio(f"{name} in {self.path}", entry.file_size, packed)
            try:
                stream = archive.open(entry)
            except RuntimeError as error:  # also NotImplementedError
                raise DataError(
                    f"{self.path}: {name!r} cannot be read: {error}; unpack it yourself and give the folder"
                ) from error
            with stream:
                yield Bounded(stream, lambda: packed, f"{name} in {self.path}", _ZIP_PIECE)


class TarArchive:
    """A tar archive, compressed or not; every access reads it from its beginning.

    Args:
        path: The archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _archive(self) -> Iterator[tuple[tarfile.TarFile, Bounded]]:
        with self.path.open("rb") as file, _unpacked(file) as unpacked:
            content = Bounded(unpacked, file.tell, self.path)
            # Streaming mode, so that all bytes pass through `content`
            with tarfile.open(fileobj=cast(IO[bytes], content), mode="r|", tarinfo=_Entry) as archive:
                yield archive, content

    def names(self) -> list[str]:
        """Paths of its files.

        Raises:
            DataError: There are too many files, or one is not a regular file.
        """
        names: list[str] = []
        with self._archive() as (archive, content):
            for number, entry in enumerate(archive, start=1):
                _refuse_many(self.path, number)
                if entry.isdir():
                    continue
                if not entry.isreg() or entry.issparse():
                    kind = "a link" if entry.issym() or entry.islnk() else "no plain file"
                    raise DataError(f"{self.path}: {entry.name!r} is {kind}; an archive of data holds only files")
                names.append(entry.name)
            while content.read(1 << 16):  # the checksum follows the last file
                pass
        return names

    @contextmanager
    def open(self, name: str) -> Iterator[Bounded]:
        """The bytes of a file."""
        with self._archive() as (archive, content):
            entry = next(entry for entry in archive if entry.name == name)
            stream = archive.extractfile(entry)
            assert stream is not None  # links and folders are not among the names
            yield Bounded(stream, content.packed, f"{name} in {self.path}")


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    begin = file.read(3)
    file.seek(0)
    openers: dict[bytes, Callable[[IO[bytes]], object]] = {
        b"\x1f\x8b": gzip.open,
        b"\xfd7z": lzma.open,
        b"BZh": bz2.open,
    }
    return cast(
        IO[bytes], next((opener(file) for magic, opener in openers.items() if begin.startswith(magic)), file)
    )


class _Entry(tarfile.TarInfo):
    """A member whose extension headers, such as a long name, are limited: tarfile reads them whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENSIONS and self.size > _LONGEST_EXTENSION:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        try:
            return cast(tarfile.TarInfo, super()._proc_member(archive))  # type: ignore[misc]
        except DataError:
            raise
        except ValueError as error:
            raise tarfile.ReadError(str(error)) from error


def _refuse_many(path: Path, number: int) -> None:
    if number > _MOST_MEMBERS:
        raise DataError(f"{path} holds more than {_MOST_MEMBERS} files; an archive of data holds a few dozen")

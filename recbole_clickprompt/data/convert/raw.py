"""Reads the files inside a publisher's archive or folder; nothing is ever unpacked to disk."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from recbole_clickprompt.errors import DataError

__all__ = ["RawFiles"]

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


class RawFiles:
    """What ``--raw`` names: a folder, a zip or tar archive, or one file with others beside it.

    Files are known by name, wherever in the folder or archive they lie, and one compressed by gzip also without
    its ``.gz``.

    Args:
        path: The folder, archive or file.

    Raises:
        DataError: It is not there, no archive, cut off, or holds a path that leads outside.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._paths: dict[str, str] = {}
        if path.is_dir():
            names = [str(p.relative_to(path)) for p in sorted(path.rglob("*")) if p.is_file()]
            self._kind = "folder"
        elif not path.is_file():
            raise DataError(f"there is no file or folder {path}")
        elif path.name.endswith((".zip", *_TARS)):
            self._kind = "zip" if path.suffix == ".zip" else "tar"
            with _told(path):
                names = self._archive_names()
        else:
            self._kind = "folder"
            self.path = path.parent
            names = [p.name for p in sorted(path.parent.iterdir()) if p.is_file()]
        for name in names:
            self._paths.setdefault(PurePosixPath(name).name, name)

    def _archive_names(self) -> list[str]:
        if self._kind == "zip":
            with zipfile.ZipFile(self.path) as archive:
                names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        else:
            with tarfile.open(self.path) as archive:
                entries = archive.getmembers()
                assert archive.fileobj is not None
                while archive.fileobj.read(1 << 20):  # the check sum lies behind the last file
                    pass
                names = [entry.name for entry in entries if entry.isfile()]
                links = [entry.name for entry in entries if entry.issym() or entry.islnk()]
                if links:
                    raise DataError(f"{self.path}: {links[0]} is a link; an archive of data holds files alone")
        for name in names:
            parts = PurePosixPath(name.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or ":" in name.split("/")[0]:
                raise DataError(f"{self.path}: {name!r} leads outside the archive; it is not the publisher's")
        return names

    def find(self, *names: str) -> str | None:
        """The first of ``names`` that is there, with or without ``.gz``, or None."""
        for name in names:
            for candidate in (name, f"{name}.gz"):
                if candidate in self._paths:
                    return candidate
        return None

    def require(self, *names: str) -> str:
        """As ``find``.

        Raises:
            DataError: None is there; names what is.
        """
        found = self.find(*names)
        if found is None:
            there = ", ".join(sorted(self._paths)[:12]) or "nothing"
            raise DataError(f"{self.path} holds no {' or '.join(names)}; it holds {there}")
        return found

    @contextmanager
    def stream(self, *names: str) -> Iterator[IO[bytes]]:
        """The bytes of the first of ``names``, without compression.

        Raises:
            DataError: It is missing, or the archive is cut off or damaged, also while it is read.
        """
        name = self.require(*names)
        inside = self._paths[name]
        with ExitStack() as stack, _told(self.path / inside if self._kind == "folder" else self.path):
            stream: IO[bytes]
            if self._kind == "zip":
                stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(self.path)).open(inside))
            elif self._kind == "tar":
                member = stack.enter_context(tarfile.open(self.path)).extractfile(inside)
                assert member is not None  # links and folders are not among the names
                stream = stack.enter_context(member)
            else:
                stream = stack.enter_context((self.path / inside).open("rb"))
            if name.endswith(".gz"):
                stream = cast(IO[bytes], stack.enter_context(gzip.open(stream)))
            yield stream

    def read(self, *names: str) -> bytes:
        """All bytes of the first of ``names``, under the conditions of ``stream``.

        Raises:
            DataError: As ``stream``, or there is not one byte in it.
        """
        with self.stream(*names) as stream:
            content = stream.read()
        if not content:
            raise DataError(f"{self.find(*names)} is empty")
        return content

    def blocks(self, *names: str, size: int = 1 << 24) -> Iterator[bytes]:
        """Whole lines of the first of ``names``, about ``size`` bytes at a time.

        Raises:
            DataError: As ``read``.
        """
        rest, empty = b"", True
        with self.stream(*names) as stream:
            while block := stream.read(size):
                empty = False
                head, newline, tail = block.rpartition(b"\n")
                if newline:
                    yield rest + head + newline
                    rest = tail
                else:
                    rest += tail
        if rest:
            yield rest
        if empty:
            raise DataError(f"{self.find(*names)} is empty")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise DataError(
            f"{path} is cut off or damaged ({' '.join(str(error).split()) or type(error).__name__})"
            "; fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error

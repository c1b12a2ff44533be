"""Reads the files inside a publisher's archive or folder without unpacking anything to disk."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from recbole_clickprompt.data.convert.archives import TARS, Archive, TarArchive, ZipArchive
from recbole_clickprompt.data.convert.unpacking import archive_errors, open_gzip, read_whole
from recbole_clickprompt.errors import DataError

__all__ = ["RawFiles"]

_LONGEST_LINE = 1 << 26


class RawFiles:
    """The source given by ``--raw``: a folder, a zip or tar archive, or one file of a folder.

    Files are found by name at any depth of the folder or archive; a gzip file is also found by its name without
    ``.gz``.

    Args:
        path: The folder, archive or file.

    Raises:
        DataError: It does not exist, is not an archive, is truncated, contains a link or a path outside of the
            archive, or unpacks to far more bytes than data does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: Archive | None = None
        if path.is_dir():
            names = [str(p.relative_to(path)) for p in sorted(path.rglob("*")) if p.is_file()]
        elif not path.is_file():
            raise DataError(f"there is no file or folder {path}")
        elif path.name.endswith((".zip", *TARS)):
            self._archive = ZipArchive(path) if path.suffix == ".zip" else TarArchive(path)
            with archive_errors(path):
                names = self._archive.names()
            _refuse_outside(path, names)
        else:
            self.path = path.parent
            names = [p.name for p in sorted(path.parent.iterdir()) if p.is_file()]
        self._paths: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._paths[PurePosixPath(name).name].append(name)

    def names(self) -> list[str]:
        """The names of all files."""
        return list(self._paths)

    def find(self, *names: str) -> str | None:
        """The first of ``names`` that exists, with or without ``.gz``; None if none does."""
        for name in names:
            for candidate in (name, f"{name}.gz"):
                if candidate in self._paths:
                    return candidate
        return None

    def require(self, *names: str) -> str:
        """Like ``find``, but the file must exist.

        Raises:
            DataError: None of ``names`` exists, or the name is not unique.
        """
        found = self.find(*names)
        if found is None:
            available = ", ".join(name if name.isprintable() else repr(name) for name in sorted(self._paths)[:12])
            raise DataError(f"{self.path} holds no {' or '.join(names)}; it holds {available or 'nothing'}")
        if len(self._paths[found]) > 1:
            raise DataError(
                f"{self.path} holds {found} more than once: {' and '.join(self._paths[found][:2])}; give a folder "
                "or an archive that holds only the one to read"
            )
        return found

    @contextmanager
    def stream(self, *names: str) -> Iterator[IO[bytes]]:
        """The uncompressed bytes of the first of ``names``.

        Raises:
            DataError: It is missing, or the archive is truncated or damaged; also raised while the stream is read.
        """
        name = self.require(*names)
        (inside,) = self._paths[name]
        if self._archive is None:
            with archive_errors(self.path / inside), (self.path / inside).open("rb") as file:
                yield open_gzip(file, file.tell, self.path / inside) if name.endswith(".gz") else file
            return
        with archive_errors(self.path), self._archive.open(inside) as member:
            stream = io.BufferedReader(member)
            yield open_gzip(stream, member.packed, f"{inside} in {self.path}") if name.endswith(".gz") else stream

    def read(self, *names: str) -> bytes:
        """All uncompressed bytes of the first of ``names``.

        Raises:
            DataError: See ``stream``; or the file is empty, or too large to be unpacked in memory.
        """
        with self.stream(*names) as stream:
            packed = self._archive is not None or self.require(*names).endswith(".gz")
            content = read_whole(stream, self.require(*names)) if packed else stream.read()
        if not content:
            raise DataError(f"{self.find(*names)} is empty")
        return content

    def blocks(self, *names: str, size: int = 1 << 24) -> Iterator[bytes]:
        """Whole lines of the first of ``names``, about ``size`` bytes at a time.

        Raises:
            DataError: See ``stream``; or the file is empty, or a line has more than 64 MiB.
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
                if len(rest) > _LONGEST_LINE:
                    raise DataError(f"{self.find(*names)} holds a line of more than {_LONGEST_LINE} bytes")
        if rest:
            yield rest
        if empty:
            raise DataError(f"{self.find(*names)} is empty")


def _refuse_outside(path: Path, names: list[str]) -> None:
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name.split("/")[0]:
            raise DataError(f"{path}: {name!r} leads outside the archive; it is not the publisher's")

"""Checksums of the files in a folder, so that a modified file is an error and not a source of wrong scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from logging import getLogger
from pathlib import Path, PurePosixPath

from recbole_clickprompt.errors import DataError

__all__ = ["CHECKSUMS", "sha256_of", "verify_checksums", "write_checksums"]

CHECKSUMS = "checksums.json"


def write_checksums(folder: Path, *, but: Iterable[str] = ()) -> None:
    """Writes ``checksums.json``, the SHA-256 of each file in a folder and in the folders in it, by relative path.

    Args:
        folder: An existing folder.
        but: Names of files to leave out, because users may edit them.
    """
    names = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    sums = {name: sha256_of(path) for name, path in names.items() if name not in {CHECKSUMS, *but}}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def verify_checksums(
    folder: Path, needed: Iterable[str], *, recovery: str = "export or train again", required: bool = False
) -> None:
    """Checks the files in a folder against its ``checksums.json``; warns if there is none, unless it is required.

    Args:
        folder: The folder of an export, a preprocessing or a published model.
        needed: Names of the files that will be read, which must have a checksum.
        recovery: What to do about a damaged file, for error messages.
        required: The checksums must exist.

    Raises:
        DataError: A file is missing, modified or without checksum, or the checksums cannot be read.
    """
    path = folder / CHECKSUMS
    if required and not path.is_file():
        raise DataError(f"{folder} contains a damaged file: {CHECKSUMS} is missing; {recovery}")
    if not path.exists():
        getLogger().warning(
            f"{folder} has no {CHECKSUMS}: it was written by an earlier version, or the file was removed. "
            "Modified files cannot be detected; export or train again"
        )
        return
    sums = _read(path, recovery)
    for name in {**sums, **dict.fromkeys(needed)}:
        if not (folder / name).is_file():
            fault = "is missing"
        elif name not in sums:
            fault = f"has no checksum in {CHECKSUMS}"
        elif sha256_of(folder / name) != sums[name]:
            fault = f"was modified: its checksum differs from {CHECKSUMS}"
        else:
            continue
        raise DataError(f"{folder} contains a damaged file: {name} {fault}; {recovery}")


def _read(path: Path, recovery: str) -> dict[str, object]:
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(sums, dict) or not all(map(_is_inside, sums)):
            raise ValueError("it must map file names to checksums")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}; {recovery}") from error
    return sums


def _is_inside(name: str) -> bool:
    """Whether a name is that of a file in the folder or in a folder in it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name and "\\" not in name


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

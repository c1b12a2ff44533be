"""Files that several processes read and write: written whole or not at all, by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import TextIO

from safetensors import SafetensorError

from recbole_clickprompt.errors import DataError, StorageError

__all__ = [
    "locked",
    "new_folder",
    "partial_path",
    "put_in_place",
    "storage_errors",
    "warn_once",
    "write_text",
    "write_whole",
]


# Errors of a file system without locks, as some clusters have; training must not fail there
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}


def partial_path(path: Path) -> Path:
    """The name under which only this process writes a file that will be renamed to ``path``.

    Removes what killed processes of this machine have left.
    """
    host = socket.gethostname()
    for partial in path.parent.glob(f"{path.name}.{host}-*.partial"):
        process = partial.name.removesuffix(".partial").rpartition("-")[2]
        if process.isdecimal() and not _is_alive(int(process)):
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    return path.with_name(f"{path.name}.{host}-{os.getpid()}.partial")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file whole or not at all: under any failure there is the old file or the new one.

    Args:
        path: The file; its folder is made.
        write: Writes the content to the path that it is given.

    Raises:
        StorageError: The disk is full or the folder cannot be written to. What was there before still is.
    """
    partial = partial_path(path)
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(partial)
            put_in_place(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8; as ``write_whole``."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def put_in_place(partial: Path, path: Path) -> None:
    """Forces a complete ``partial_path`` to the disk and renames it to ``path``; raises OSError."""
    _sync(partial)
    os.replace(partial, path)
    _sync(path.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into that is renamed to ``target`` at the end; on any error nothing is left of it.

    Raises:
        DataError: ``target`` exists already, or cannot be made.
    """
    if target.exists():
        raise DataError(f"{target} is there already; remove it, or choose another place with --out")
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise DataError(f"cannot write to {target.parent}: {error.strerror}") from error
    try:
        yield work
        work.chmod(0o755)  # as mkdir does, where mkdtemp gives no access to others
        for content in (*work.rglob("*"), work):
            _sync(content)
        work.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # they hold something
            for folder in made:
                folder.rmdir()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Explains failures of the file system while ``path`` is written.

    Raises:
        StorageError: For an OSError, or an error of a library that was caused by one.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _storage_reason(error)
        if reason is None:
            raise
        raise _not_written(path, reason) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Makes other processes wait to change a file while this one reads it and writes it again.

    The lock is a file next to it, ``<name>.lock``, that is removed at the end. The one that a killed process left
    is taken, and removed, by the next process.

    Raises:
        StorageError: The folder cannot be written to.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = _acquire(lock)
    except OSError as error:
        raise _not_written(path, error.strerror or str(error)) from error
    with stream:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@functools.cache
def warn_once(path: Path, message: str) -> None:
    """Warns about a file once per process.

    Args:
        path: The file, in full.
        message: The whole line.
    """
    getLogger().warning(message)


def _acquire(lock: Path) -> TextIO:
    while True:
        stream = lock.open("w")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            where = lock.parent.resolve()
            warn_once(
                where, f"{where}: this file system has no locks; two processes must not write one file there"
            )
            return stream
        # The previous process has removed the file that it held: the lock is the file that has the name now
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
                return stream
        stream.close()


def _not_written(path: Path, reason: str) -> StorageError:
    kept = "; what was there before is unchanged" if path.exists() else ""
    return StorageError(
        f"{path} cannot be written: {reason}{kept}; free space there, or write to another folder "
        "(checkpoint_dir is that of a training run)"
    )


def _storage_reason(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        if isinstance(error, SafetensorError) and "os error" in str(error):
            return str(error)
        error = error.__cause__ or error.__context__
    return None


def _sync(path: Path) -> None:
    # Without it a rename can reach the disk before the content does
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

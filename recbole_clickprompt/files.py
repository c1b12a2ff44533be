"""Files that several processes read and write: whole or not at all, and changed by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import TextIO

from safetensors import SafetensorError

from recbole_clickprompt.errors import StorageError

__all__ = ["locked", "partial_path", "warn_once", "write_whole"]


# Of a file system that knows none, as some of clusters; a training must not end there
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}


def partial_path(path: Path) -> Path:
    """The name under which this process, and no other, writes what will be renamed to ``path``.

    What killed processes of this machine had begun to write is removed.
    """
    host = socket.gethostname()
    for partial in path.parent.glob(f"{path.name}.{host}-*.partial"):
        process = partial.name.removesuffix(".partial").rpartition("-")[2]
        if process.isdecimal() and not _is_alive(int(process)):
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    return path.with_name(f"{path.name}.{host}-{os.getpid()}.partial")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file under another name, forces it to the disk and renames it: there is the old one or the new one.

    Args:
        path: The file; its folder is made.
        write: Writes what belongs into the file to the path that it is given.

    Raises:
        StorageError: The disk is full or the folder cannot be written to. What was there before still is.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _storage_reason(error)
        if reason is None:
            raise
        raise _not_written(path, reason) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes from changing a file while this one reads it and writes it anew; they wait.

    The lock is a file beside it, ``<name>.lock``, that is removed at the end. One that a killed process left is
    nobody's: the next process takes it, and removes it.

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
    """Warns of a file, in one line and once a process, however often it is read.

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
        # The process before this one has removed the file that it held: the lock is the file that has the name now
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
                return stream
        stream.close()


def _not_written(path: Path, reason: str) -> StorageError:
    kept = "; what was there before is as it was" if path.exists() else ""
    return StorageError(
        f"{path} cannot be written: {reason}{kept}; free space there, or write to another folder "
        "(checkpoint_dir is that of a training)"
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

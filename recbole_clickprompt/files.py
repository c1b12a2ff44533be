"""Atomic writes and locks for files that several processes use."""

from __future__ import annotations

import errno
import fcntl
import functools
import glob
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import TextIO

from safetensors import SafetensorError

from recbole_clickprompt.errors import DataError, StorageError

__all__ = [
    "is_alive",
    "is_partial",
    "locked",
    "new_folder",
    "partial_path",
    "put_in_place",
    "remove_leftovers",
    "storage_errors",
    "user_cache",
    "warn_once",
    "write_text",
    "write_whole",
]


# Errors of file systems without locks, as on some clusters; training must not fail on them
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}


def partial_path(path: Path) -> Path:
    """A name, unique to this process, for a file that is written and then renamed to ``path``.

    Removes the partial files of killed processes on this machine.
    """
    _remove_partial(path.parent.glob(f"{glob.escape(path.name)}.*.partial"))
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.partial")


def is_partial(path: Path) -> bool:
    """Whether a file has a name that ``partial_path`` gives, for a process of any machine."""
    return path.is_file() and re.fullmatch(r".+\.[^/]+-[0-9]{1,9}\.partial", path.name, re.DOTALL) is not None


def remove_leftovers(folder: Path) -> list[Path]:
    """Removes the partial files of killed processes on this machine from a folder and from the folders in it.

    Returns:
        The removed files. Any other file stays, also if it was written by a process that was killed.
    """
    folders = [folder, *(inner for inner in folder.glob("*/") if not inner.is_symlink())]
    return _remove_partial([file for inner in folders for file in inner.glob("*.partial")])


def _remove_partial(files: Iterable[Path]) -> list[Path]:
    name_of_ours = re.compile(rf".+\.{re.escape(socket.gethostname())}-([0-9]{{1,9}})\.partial", re.DOTALL)
    removed = []
    for file in files:
        match = name_of_ours.fullmatch(file.name)
        if match and file.is_file() and not file.is_symlink() and not is_alive(int(match[1])):
            with suppress(OSError):
                file.unlink()
                removed.append(file)
    return removed


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file atomically: after any failure, either the old or the new file exists.

    Args:
        path: The file; its folder is created.
        write: Writes the content to the path passed to it.

    Raises:
        StorageError: The disk is full or the folder is not writable. An existing file is unchanged.
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
    """Writes a text file in UTF-8 atomically; see ``write_whole``."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def put_in_place(partial: Path, path: Path) -> None:
    """Syncs a complete file at ``partial_path`` to disk and renames it to ``path``; raises OSError."""
    _sync(partial)
    os.replace(partial, path)
    _sync(path.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yields a folder that is renamed to ``target`` at the end, and removed after an error.

    Raises:
        DataError: ``target`` already exists or cannot be created.
    """
    if target.exists():
        raise DataError(f"{target} already exists; remove it, or choose another folder with --out")
    created = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise DataError(f"cannot write to {target.parent}: {error.strerror}") from error
    try:
        yield work
        work.chmod(0o755)  # mkdtemp gives no access to other users
        for content in (*work.rglob("*"), work):
            _sync(content)
        work.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # not empty
            for folder in created:
                folder.rmdir()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Converts errors of the file system while ``path`` is written.

    Raises:
        StorageError: An OSError, or an error of a library that was caused by one.
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
    """Locks a file against other processes while this one reads and rewrites it.

    The lock is a file next to it, ``<name>.lock``, which is removed at the end. If a process is killed, the next
    one takes over its lock file and removes it.

    Raises:
        StorageError: The folder is not writable.
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
        path: The absolute path of the file.
        message: The complete message.
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
                where, f"{where}: this file system has no locks; two processes must not write the same file in it"
            )
            return stream
        # The previous holder may have removed the file that was opened: check that it still has this name
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
                return stream
        stream.close()


def _not_written(path: Path, reason: str) -> StorageError:
    unchanged = "; the existing file is unchanged" if path.is_file() else ""
    return StorageError(
        f"{path} cannot be written: {reason}{unchanged}; free space, or write to another folder (checkpoint_dir "
        "for training runs, results for tables)"
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
    # Without fsync, the rename may reach the disk before the content
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_cache() -> Path:
    """Folder for files that this package makes once per user and can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "recbole_clickprompt"


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs, given its number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

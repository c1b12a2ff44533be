"""A knowledge file that grows: what was answered survives a crash at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from types import TracebackType

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.files import storage_errors
from recbole_clickprompt.knowledge.records import Record, read_records

__all__ = ["AnswerFile"]


class AnswerFile:
    """Appends records to a file and syncs each batch to disk. One process writes at a time.

    Opening reads the records of earlier runs. If the last one was killed while it wrote a line, the torn line is
    removed, which is logged.

    Args:
        path: The file, which need not exist.

    Attributes:
        records: Records in the file, also those appended since it was opened.

    Raises:
        DataError: Another process writes the file, or a line of it is invalid.
        StorageError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("ab", buffering=0)  # nothing of a failed write may be left in a buffer
        try:
            self._lock()
            self._repair()
            self.records = read_records(path)
        except BaseException:
            self._stream.close()
            raise

    def append(self, records: Iterable[Record]) -> None:
        """Writes records; when it returns, they are on the disk.

        Raises:
            StorageError: The disk is full; the records before these are unchanged.
        """
        added = list(records)
        data = "".join(record.line() for record in added).encode()
        with storage_errors(self.path):
            end = self._stream.seek(0, os.SEEK_END)
            try:
                while data:
                    data = data[self._stream.write(data) :]
                os.fsync(self._stream.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path, end)
                raise
        self.records.extend(added)

    def close(self) -> None:
        """Closes the file, and removes it if nothing was written."""
        if self._stream.closed:
            return
        with contextlib.suppress(OSError):
            if not os.fstat(self._stream.fileno()).st_size:
                self.path.unlink()
            self._stream.close()

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{self.path} is being written by another process; wait for it, or stop it") from error
        except OSError:
            getLogger().warning(
                f"{self.path}: this file system has no locks; let no other process write this file"
            )

    def _repair(self) -> None:
        """Removes a torn last line, or completes one that lacks its line end only."""
        begin, last, number = 0, b"", 0
        with self.path.open("rb") as stream:
            for line in stream:
                begin, last, number = begin + len(last), line, number + 1
        if not last or last.endswith(b"\n"):
            return
        if last.rstrip().endswith(b"}") and _is_json(last):
            self._stream.write(b"\n")
            return
        getLogger().warning(
            f"{self.path}: line {number} was cut off when an earlier run ended; it is removed and asked again"
        )
        os.truncate(self.path, begin)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode())
    except ValueError:
        return False
    return True

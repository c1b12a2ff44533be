"""A knowledge file that grows: what was answered survives a crash at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from types import TracebackType

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.files import storage_errors
from recbole_clickprompt.knowledge.json_lines import is_object
from recbole_clickprompt.knowledge.records import Record, records_of

__all__ = ["AnswerFile"]

_START = b'{"key": "'  # of every record


class AnswerFile:
    """Appends records to a file and syncs each batch to disk. One process writes at a time.

    Opening reads the records of earlier runs and writes nothing. If the last one was killed while it wrote a line,
    the torn line is removed by ``repair``, which is logged.

    Args:
        path: The file, which need not exist.

    Attributes:
        records: Records in the file, also those appended since it was opened.

    Raises:
        DataError: Another process writes the file, or a line of it is invalid. The file is unchanged then.
        StorageError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._is_new = not path.exists()
            self._stream = path.open("ab", buffering=0)  # nothing of a failed write may be left in a buffer
        try:
            self._lock()
            self.records, self._torn = self._read()
        except BaseException:
            self._stream.close()
            raise

    def append(self, records: Iterable[Record]) -> None:
        """Writes records; when it returns, they are on the disk.

        Raises:
            StorageError: The disk is full; the records before these are unchanged.
        """
        self.repair()
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

    def repair(self) -> None:
        """Removes a torn last line, or completes one that lacks its line end only.

        Raises:
            StorageError: The file cannot be written.
        """
        torn, self._torn = self._torn, b""
        if not torn:
            return
        with storage_errors(self.path):
            if is_object(torn):
                self._stream.write(b"\n")
                return
            os.truncate(self.path, self.path.stat().st_size - len(torn))
        getLogger().warning(
            f"{self.path}: line {len(self.records) + 1} was cut off when an earlier run ended; it is removed and "
            "asked again"
        )

    def close(self) -> None:
        """Closes the file, and removes it if it is new and nothing was written."""
        if self._stream.closed:
            return
        with contextlib.suppress(OSError):
            if self._is_new and not os.fstat(self._stream.fileno()).st_size:
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

    def _read(self) -> tuple[list[Record], bytes]:
        """The records, and what follows the last line end: a torn record, or one that lacks its line end only."""
        with storage_errors(self.path), self.path.open("rb") as stream:
            lines = stream.readlines()
        torn = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        last = torn if is_object(torn) else b""
        records = records_of([*lines, last], str(self.path))
        if torn and not last:
            # Anything else is another file, given by mistake
            starts_as_record = torn.startswith(_START) or _START.startswith(torn)
            if not starts_as_record or any(record.is_plain for record in records):
                raise DataError(
                    f"{self.path}, line {len(lines) + 1}: expected is a record that recbole-cp teach wrote, got "
                    f"{torn[:40].decode(errors='replace')!r}; choose another file with --out"
                )
        return records, torn

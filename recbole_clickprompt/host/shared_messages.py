"""Errors and warnings of processes that read parts of one file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_clickprompt.distributed import ProcessGroup
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.line_range import LineRange

__all__ = ["shared_messages"]


@contextmanager
def shared_messages(group: ProcessGroup, path: Path) -> Iterator[None]:
    """A context in which each process reads its lines of a file.

    All processes raise the first error, by the order of the lines, and the first process logs the warnings of all.

    Raises:
        DataError: A process raised one in the context; it ends with the line that this process reads from, as
            counts in it are about its lines.
    """
    warnings = _Collected()
    error = None
    with warnings.installed():
        try:
            yield
        except DataError as raised:
            error = str(raised)
    lines = _lines(path, group) if error or warnings.messages else ""
    shares = group.all_gather((error and f"{error}{lines}", [f"{text}{lines}" for text in warnings.messages]))
    for _, messages in shares:
        for message in messages:
            logging.getLogger().warning(message)
    if errors := [found for found, _ in shares if found is not None]:
        raise DataError(errors[0])


def _lines(path: Path, group: ProcessGroup) -> str:
    own = LineRange.of(path, group.rank, group.world)
    return f" (rank {group.rank} of {group.world} processes, which reads from line {own.first_line()} on)"


class _Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    @contextmanager
    def installed(self) -> Iterator[None]:
        """A context in which this handler gets the warnings, in place of all others."""
        root = logging.getLogger()
        level, handlers = root.level, root.handlers
        root.handlers = [self]
        root.setLevel(min(level, logging.WARNING))
        try:
            yield
        finally:
            root.handlers = handlers
            root.setLevel(level)

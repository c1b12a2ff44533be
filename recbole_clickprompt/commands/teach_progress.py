"""The progress of `recbole-cp teach`: answers, answers per second, and the remaining time."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress", "duration"]

_SECONDS = {True: 0.2, False: 30.0}  # between two lines, on a terminal and in a file


class Progress:
    """Prints one line that changes, or where output is no terminal a line every half minute.

    Args:
        clock: Seconds, for tests.
    """

    def __init__(self, clock=time.monotonic) -> None:  # type: ignore[no-untyped-def]
        self._clock, self._terminal = clock, sys.stderr.isatty()
        self._total = self._done = self._before = 0
        self._start = self._shown = clock()

    def begin(self, total: int, *, done: int) -> None:
        """Starts with ``total`` subjects to be asked about, ``done`` others having answers already."""
        self._total, self._before = total, done
        self._start = self._shown = self._clock()
        if done:
            print(f"{done:,} answers are there already, {total:,} are asked for", file=sys.stderr)

    def advance(self, number: int) -> None:
        """Counts finished subjects."""
        self._done += number
        if self._clock() - self._shown >= _SECONDS[self._terminal]:
            self._shown = self._clock()
            self._print()

    def end(self) -> None:
        """Ends the line on a terminal."""
        if self._terminal and self._done:
            self._print()
            print(file=sys.stderr)

    def line(self) -> str:
        """The present state in words."""
        seconds = self._clock() - self._start
        rate = self._done / seconds if seconds > 0 else 0.0
        remaining = duration((self._total - self._done) / rate) if rate else "unknown"
        return f"{self._done:,} of {self._total:,} answers, {rate:.3g} per second, {remaining} left"

    def _print(self) -> None:
        end = "" if self._terminal else "\n"
        start = "\r\033[K" if self._terminal else ""
        print(f"{start}{self.line()}", end=end, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time in words, such as ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

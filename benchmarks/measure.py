"""Runs a command by itself and says what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Cost", "measured"]


class Cost(NamedTuple):
    """Wall time and processor time in seconds, and the most memory that the process held at a time in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} s of the processor, peak {self.peak_bytes / 1e9:.2f} GB"
        )


def measured(command: Sequence[str]) -> Cost:
    """Runs ``command`` to its end; its output goes where ours goes.

    The peak is the kernel's own, of this child alone; pages of mapped files count. A child begins with the memory
    of its parent, so the parent should hold little: generate data in a child too.

    Raises:
        SystemExit: It failed, with its exit code.
    """
    start = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

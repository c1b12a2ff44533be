"""Measures time and memory of a command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Cost", "measured"]


class Cost(NamedTuple):
    """Wall time and CPU time in seconds, and the peak memory of the process in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} s CPU time, peak {self.peak_bytes / 1e9:.2f} GB"


def measured(command: Sequence[str]) -> Cost:
    """Runs ``command`` and waits for it; its output is not captured.

    The peak is reported by the kernel for this child only, and includes pages of mapped files. A child starts with
    the memory of its parent, so the parent should use little: generate data in a child process too.

    Raises:
        SystemExit: The command failed.
    """
    start = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

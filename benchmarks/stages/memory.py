"""Peak memory of a contender, in a separate process."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.stages.job import Job, contenders
from benchmarks.stages.steps import build_turn
from benchmarks.stages.workload import Workload

__all__ = ["peak_above_base", "peak_of"]

_TURNS = 2  # the optimizer has its state from the second turn on
_MIB = 1 << 20


def peak_of(job: Job, stage: str, batch: int, index: int) -> float:
    """Peak memory in MiB of two turns of a stage's ``index``-th contender, with gradients and optimizer state.

    On a CPU above the memory after data and model are loaded; on a GPU the peak of torch's memory, including the
    model.
    """
    workload = Workload(job)
    contender = contenders(stage, job.variants)[index]
    turn = build_turn(workload, stage, batch, contender)
    prepared = [turn.prepare(number) for number in range(_TURNS)]

    def turns() -> None:
        for rows in prepared:
            turn.run(rows)

    if job.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        turns()
        return torch.cuda.max_memory_allocated() / _MIB
    return peak_above_base(turns)


def peak_above_base(call: Callable[[], object]) -> float:
    """Peak increase of the resident memory of this process during a call, in MiB."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # memory freed by loading would hide the memory of the call
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    base = _resident()
    call()
    return (_peak() - base) / _MIB


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def _resident() -> int:
    return _status("VmRSS") if sys.platform == "linux" else _peak()


def _peak() -> int:
    if sys.platform == "linux":
        return _status("VmHWM")
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS; since the start of the process

"""Interleaved timing of turns, and the peak speed of matrix products on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from benchmarks.stages.steps import Turn

__all__ = ["matrix_peak", "ratios", "rounds"]

_SECONDS = 0.25  # minimum time for each matrix product


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def rounds(
    turns: Sequence[Turn], *, repeats: int, device: torch.device, report: Callable[[int], None]
) -> list[list[float]]:
    """Seconds of each turn in each round: ``[turn][round]``.

    In a round, all turns process the same rows one after the other, so that load on the machine affects all alike;
    the order rotates between rounds. Round 0 is the warm-up, which the caller runs.

    Args:
        turns: Turns that have run once.
        repeats: Number of rounds.
        device: Synchronized before the clock is read.
        report: Called with the number of each round.
    """
    seconds: list[list[float]] = [[] for _ in turns]
    for number in range(1, repeats + 1):
        report(number)
        for step in range(len(turns)):
            index = (step + number) % len(turns)
            prepared = turns[index].prepare(number)
            start = _now(device)
            turns[index].run(prepared)
            seconds[index].append(_now(device) - start)
    return seconds


def ratios(seconds: Sequence[Sequence[float]], rows: Sequence[int]) -> list[float]:
    """Rows per second of each turn over that of the first: the median of the ratios within a round."""
    first = [time / rows[0] for time in seconds[0]]
    return [
        median(base / (time / count) for base, time in zip(first, turn, strict=True))
        for turn, count in zip(seconds, rows, strict=True)
    ]


def matrix_peak(shapes: Sequence[tuple[int, int, int]], dtype: torch.dtype, device: torch.device) -> float:
    """GFLOP/s of the fastest of several matrix products ``(M, N) x (N, P)``, each the median of its repeats.

    Weights have the memory layout of a linear layer; the output is preallocated.
    """
    best = 0.0
    for m, n, p in shapes:
        left = torch.randn(m, n, device=device).to(dtype)
        right = torch.randn(p, n, device=device).to(dtype).t()
        out = torch.empty(m, p, dtype=dtype, device=device)
        torch.mm(left, right, out=out)
        seconds: list[float] = []
        begin = start = _now(device)
        while not seconds or start - begin < _SECONDS:
            start = _now(device)
            torch.mm(left, right, out=out)
            seconds.append(_now(device) - start)
        best = max(best, 2e-9 * m * n * p / median(seconds))
    return best

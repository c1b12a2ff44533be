"""How long runs take for a batch, measured side by side (Table 8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["summarize_times", "time_interleaved"]


def time_interleaved(
    calls: Mapping[str, Callable[[int], Any]],
    *,
    batches: int,
    rounds: int,
    wait: Callable[[], Any] = lambda: None,
    seed: int = 2020,
) -> pd.DataFrame:
    """Times every run on every batch, in turns of a random order, so that a busy machine is busy for all of them.

    Each timed call follows an untimed one of the same run on the batch before: the run is warm, its rows are not.

    Args:
        calls: Works off the batch of a number, by the run's name.
        batches: Batches there are.
        rounds: Times that each is worked off.
        wait: Returns when the device is done.
        seed: Of the order.

    Returns:
        ``run``, ``round``, ``batch``, ``ms``.
    """
    random, names, lines = np.random.default_rng(seed), list(calls), []
    for round_ in range(rounds):
        for batch in range(batches):
            for name in random.permutation(names):
                calls[name]((batch - 1) % batches)
                wait()
                start = time.perf_counter()
                calls[name](batch)
                wait()
                lines.append((str(name), round_, batch, 1000 * (time.perf_counter() - start)))
    return pd.DataFrame(lines, columns=["run", "round", "batch", "ms"])


def summarize_times(
    times: pd.DataFrame, *, baseline: str, samples: int = 1000, seed: int = 2020, confidence: float = 0.95
) -> pd.DataFrame:
    """One line for each run.

    Args:
        times: Of ``time_interleaved``.
        baseline: The run that others are related to.
        samples: Bootstrap draws of turns (a round's batch), for the interval of the ratio.
        seed: Of the draws.
        confidence: Of the interval.

    Returns:
        ``run``, ``timed`` (calls), ``median_ms``, ``p95_ms``, ``ratio`` of the median to the baseline's, with
        ``ratio_low`` and ``ratio_high``; all three missing for the baseline.
    """
    turns = times.pivot_table(index=["round", "batch"], columns="run", values="ms", sort=False)
    draws = np.random.default_rng(seed).integers(len(turns), size=(samples, len(turns)))
    base = turns[baseline].to_numpy()
    lines = []
    for name in dict.fromkeys(times["run"]):
        ms = turns[name].to_numpy()
        line = {
            "run": name, "timed": len(ms), "median_ms": np.median(ms), "p95_ms": np.quantile(ms, 0.95),
            "ratio": np.nan, "ratio_low": np.nan, "ratio_high": np.nan,
        }  # fmt: skip
        if name != baseline:
            ratios = np.median(ms[draws], axis=1) / np.median(base[draws], axis=1)
            low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
            line |= {"ratio": np.median(ms) / np.median(base), "ratio_low": low, "ratio_high": high}
        lines.append(line)
    return pd.DataFrame(lines)

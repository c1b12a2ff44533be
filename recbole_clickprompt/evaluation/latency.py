"""Prediction time of runs per batch, measured side by side (ClickPrompt, Table 8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

__all__ = ["summarize_times", "time_interleaved"]


def time_interleaved(
    calls: Mapping[str, Callable[[int], object]],
    *,
    batches: int,
    rounds: int,
    wait: Callable[[], object] = lambda: None,
    seed: int = 2020,
) -> pd.DataFrame:
    """Times every run on every batch, in random order, so that load on the machine affects all runs alike.

    Each timed call follows an untimed one of the same run on the previous batch, which warms up the run but not
    its rows.

    Args:
        calls: Functions of a batch number that predict this batch, by the run's name.
        batches: Number of batches.
        rounds: How often each batch is timed.
        wait: Returns when the device has finished.
        seed: Seed of the order.

    Returns:
        Columns ``run``, ``round``, ``batch``, ``ms``; one line per timed call.
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
    """Summarizes the times of each run.

    Args:
        times: The result of ``time_interleaved``.
        baseline: The run whose median is the denominator of the ratios.
        samples: Bootstrap draws of turns (a batch in a round), for the interval of the ratio.
        seed: Seed of the draws.
        confidence: Confidence level of the interval.

    Returns:
        One line per run: ``run``, ``timed`` (number of calls), ``median_ms``, ``p95_ms``, ``ratio`` of the median
        to the baseline's, ``ratio_low`` and ``ratio_high``; the last three are missing for the baseline.
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

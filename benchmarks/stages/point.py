"""One point of a scaling table: start-up, time per row and memory of one contender, in a separate process."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch

from benchmarks.stages.job import Job, contenders
from benchmarks.stages.memory import peak_above_base
from benchmarks.stages.steps import build_turn
from benchmarks.stages.timing import rounds
from benchmarks.stages.workload import Workload

__all__ = ["measure_point"]


def measure_point(job: Job, stage: str, batch: int, contender: str) -> dict[str, float]:
    """Measures reading the data, building the token table, and training.

    Returns:
        ``read_s``, ``tokens_s``: seconds to read the data and to build the token table; ``tokens_again_s``:
        seconds to build it again, as a later run does; ``tokens_mb``, ``tokens_peak_mb``: MiB of the table and
        peak while it is built; ``tokens_per_row``: mean length of a text; ``ms_per_row``: median over
        ``job.repeats`` turns; ``mb``: peak MiB of two turns.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    start = time.perf_counter()
    workload = Workload(job)
    read = time.perf_counter()
    found: dict[str, Any] = {}
    peak = peak_above_base(lambda: found.update(table=workload.token_table()))
    built = time.perf_counter()
    workload.token_table_of_a_later_run()
    again = time.perf_counter()
    (chosen,) = (c for c in contenders(stage, job.variants) if c.name == contender)
    turn = build_turn(workload, stage, batch, chosen)
    prepared = [turn.prepare(number) for number in range(2)]
    memory = peak_above_base(lambda: [turn.run(rows) for rows in prepared])
    (seconds,) = rounds([turn], repeats=job.repeats, device=workload.device, report=lambda _: None)
    return {
        "read_s": read - start,
        "tokens_s": built - read,
        "tokens_again_s": again - built,
        "tokens_mb": sum(b.numel() * b.element_size() for b in found["table"].buffers()) / (1 << 20),
        "tokens_peak_mb": peak,
        "tokens_per_row": float(found["table"].lengths(workload.dataset.inter_feat).float().mean()),
        "ms_per_row": 1000 * median(seconds) / turn.rows,
        "mb": memory,
    }

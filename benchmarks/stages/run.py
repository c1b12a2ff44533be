"""The timing of a benchmark, in one process."""

from __future__ import annotations

import gc
import sys
from statistics import median
from typing import Any

import torch

from benchmarks.stages.counting import Counted, counted
from benchmarks.stages.equality import check_curves, check_stage
from benchmarks.stages.job import PLM_STAGES, Figure, Job, contenders
from benchmarks.stages.steps import Turn, build_turn
from benchmarks.stages.timing import matrix_peak, ratios, rounds
from benchmarks.stages.workload import Workload

__all__ = ["run_job"]

_TOKENS = 48  # roughly the length of a row of ml-100k


def run_job(job: Job) -> dict[str, Any]:
    """Checks equality, then times every stage and batch.

    Returns:
        ``figures``: a list of ``Figure``; ``peak``: GFLOP/s by precision, the best of all measurements;
        ``difference``: the largest one from the reference implementation; ``threads``: torch's; ``attention``:
        the kernels of each stage and contender.

    Raises:
        UnequalError: Our model and the reference implementation differ.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    workload = Workload(job)
    peak: dict[str, float] = {}
    figures: list[Figure] = []
    difference = 0.0
    for stage, batch in job.cells():
        if stage in PLM_STAGES:
            difference = max(difference, check_stage(workload, stage, min(batch, 64)))
        _measure_peak(workload, peak)
        figures += _cell(workload, stage, batch)
        gc.collect()
    _measure_peak(workload, peak)
    for figure in figures:
        figure.share_of_peak = figure.gflop_per_row * figure.rows_per_s / peak[_precision(figure, job)]
    return {
        "figures": figures,
        "peak": peak,
        "difference": difference,
        "threads": torch.get_num_threads(),
        "attention": {f"{f.stage}, {f.contender}": f.attention for f in figures if f.attention},
    }


def _precision(figure: Figure, job: Job) -> str:
    for contender in contenders(figure.stage, job.variants):
        if contender.name == figure.contender:
            return "bf16" if contender.settings.get("enable_amp") else "float32"
    raise KeyError(figure.contender)


def _measure_peak(workload: Workload, peak: dict[str, float]) -> None:
    config = workload.config("ClickPrompt", {})
    width, tokens = workload.plm_width(), _TOKENS * config["micro_batch_size"]
    shapes = [(tokens, width, width), (tokens, width, 4 * width), (tokens, 4 * width, width)]
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        peak[name] = max(peak.get(name, 0.0), matrix_peak(shapes, dtype, workload.device))


def _cell(workload: Workload, stage: str, batch: int) -> list[Figure]:
    job = workload.job
    turns = [build_turn(workload, stage, batch, c) for c in job.timed(stage)]
    first = [_first_turn(turn) for turn in turns]
    losses = {turn.contender.name: done.result for turn, done in zip(turns, first, strict=True)}
    if stage == "backbone":
        host, ours = (c.name for c in contenders(stage, job.variants)[1:3])
        if host in losses and ours in losses:
            check_curves(losses, host, ours)

    def report(number: int) -> None:
        print(f"bench: {stage}, batch {batch}: round {number} of {job.repeats}", file=sys.stderr, flush=True)

    seconds = rounds(turns, repeats=job.repeats, device=workload.device, report=report)
    relative = ratios(seconds, [turn.rows for turn in turns])
    return [
        Figure(
            stage=stage,
            batch=batch,
            contender=turn.contender.name,
            rows_per_s=turn.rows / median(times),
            ratio=ratio,
            gflop_per_row=done.flop / turn.rows / 1e9,
            share_of_peak=0.0,
            loss=None if done.result is None else float(done.result),
            attention=done.attention if stage in PLM_STAGES else "",
        )
        for turn, times, ratio, done in zip(turns, seconds, relative, first, strict=True)
    ]


def _first_turn(turn: Turn) -> Counted:
    prepared = turn.prepare(0)
    return counted(lambda: turn.run(prepared))

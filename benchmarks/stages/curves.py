"""Losses that training comes to, over seeds: bf16 and float32 must not differ by more than seeds do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev

from benchmarks.stages.job import PLM_STAGES, Job, contenders
from benchmarks.stages.steps import build_turn
from benchmarks.stages.workload import Workload
from recbole_clickprompt.evaluation.tables import markdown_table

__all__ = ["curves_markdown", "train_curves"]

_TRAINING = ("pamlm", "finetune", "backbone")


def train_curves(
    job: Job, steps: int, seeds: Sequence[int], report: Callable[[str], None]
) -> dict[str, dict[str, list[float]]]:
    """Trains every contender of the stages that train, from every seed, with dropout.

    Args:
        job: Its stages, first batches and settings.
        steps: Optimiser steps; of a plain backbone, epochs of ``epoch_rows`` rows.
        seeds: Of weights, dropout, masks and the order of rows; all contenders of one see the same rows.
        report: Told what begins.

    Returns:
        By stage and contender: the mean loss of the last quarter of the steps, one a seed.
    """
    losses: dict[str, dict[str, list[float]]] = {}
    for stage in (stage for stage in _TRAINING if stage in job.stages):
        batch = (job.batches if stage in PLM_STAGES else job.backbone_batches)[0]
        for seed in seeds:
            workload = Workload(replace(job, settings={**job.settings, "seed": seed}))
            for contender in contenders(stage, job.variants):
                report(f"curves of {stage}, seed {seed}: {contender.name}")
                turn = build_turn(workload, stage, batch, contender)
                curve = [turn.run(turn.prepare(number)) for number in range(steps)]
                end = mean(curve[-max(steps // 4, 1) :])
                losses.setdefault(stage, {}).setdefault(contender.name, []).append(end)
    return losses


def curves_markdown(losses: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A line a stage and contender: mean and deviation over seeds, and the mean's distance to float32 of ours.

    It is within the noise where that is no more than the larger of the two deviations.
    """
    lines = []
    for stage, of_contender in losses.items():
        base = of_contender["ours float32"]
        for name, values in of_contender.items():
            distance = mean(values) - mean(base)
            noise = max(stdev(values), stdev(base))
            verdict = "" if values is base else "yes" if abs(distance) <= noise else "no"
            spread = f"{mean(values):.4f} ± {stdev(values):.4f}"
            lines.append([stage, name, spread, f"{distance:+.4f}", verdict])
    return markdown_table(["stage", "contender", "loss", "from ours float32", "within seed noise"], lines)

"""Losses after training, over seeds: bf16 and float32 must not differ by more than seeds do."""

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
    """Trains every contender of the training stages from every seed, with dropout.

    Args:
        job: Provides stages, settings, and the batch size, which is the first of its list.
        steps: Optimizer steps; for a plain backbone, epochs of ``epoch_rows`` rows.
        seeds: Seeds of weights, dropout, masks and row order; with one seed all contenders see the same rows.
        report: Called with a message about progress.

    Returns:
        By stage and contender: the mean loss of the last quarter of the steps, one value per seed.
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
    """A line per stage and contender: mean and standard deviation over seeds, and difference to float32.

    A difference is within the noise if it is at most the larger of the two standard deviations.
    """
    lines = []
    for stage, by_contender in losses.items():
        base = by_contender["ours float32"]
        for name, values in by_contender.items():
            distance = mean(values) - mean(base)
            noise = max(stdev(values), stdev(base))
            verdict = "" if values is base else "yes" if abs(distance) <= noise else "no"
            spread = f"{mean(values):.4f} ± {stdev(values):.4f}"
            lines.append([stage, name, spread, f"{distance:+.4f}", verdict])
    return markdown_table(["stage", "contender", "loss", "from ours float32", "within seed noise"], lines)

"""Finished runs to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from recbole_clickprompt.evaluation.report.page import render
from recbole_clickprompt.evaluation.report.results import (
    calibration_section,
    comparable,
    cost_section,
    results_of,
    results_section,
    tail_section,
)
from recbole_clickprompt.evaluation.report.settings import settings_section
from recbole_clickprompt.evaluation.report.training import attention_section, learning_section
from recbole_clickprompt.evaluation.run_folder import RunFolder

__all__ = ["Extras", "build_report"]


@dataclass(frozen=True)
class Extras:
    """What no run folder holds.

    Attributes:
        latency: ``summarize_times``; None if it was not measured.
        latency_note: On what and how it was measured.
        attention: ``attention_table`` by the run's name; None if it was not asked for.
        curves: Learning curves of stages before finetuning, as ``learning_section`` takes them.
    """

    latency: pd.DataFrame | None = None
    latency_note: str = ""
    attention: Mapping[str, pd.DataFrame] | None = None
    curves: Sequence[tuple[str, str, str, str, str]] = ()


def build_report(
    runs: Mapping[str, RunFolder],
    *,
    baseline: str | None = None,
    samples: int = 1000,
    extras: Extras | None = None,
) -> str:
    """One self-contained HTML page.

    Args:
        runs: By name.
        baseline: The run that others are compared with; None is the first one.
        samples: Draws of the bootstrap.
        extras: What has to be computed with the models at hand.

    Raises:
        DataError: A run has no predictions, or a file of it is damaged.
    """
    from recbole_clickprompt import __version__

    extras = extras or Extras()
    baseline = next(iter(runs)) if baseline is None else baseline
    tables = {name: run.predictions("test") for name, run in runs.items()}
    obstacle = comparable(tables)
    results = results_of(tables, baseline=baseline, samples=samples)
    counts = runs[baseline].train_counts()
    sections = [
        results_section(results, baseline=baseline, obstacle=obstacle, samples=samples),
        learning_section({name: run.history() for name, run in runs.items()}, extras.curves),
        tail_section(tables, counts, baseline=baseline, obstacle=obstacle, samples=samples),
        cost_section(results, extras.latency, note=extras.latency_note),
        calibration_section(tables),
        attention_section(extras.attention),
        settings_section(runs),
    ]
    datasets = ", ".join(dict.fromkeys(run.info["dataset"] for run in runs.values()))
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return render(
        title=f"CTR models on {datasets}",
        lead=f"{count}, measured on the test rows.",
        runs=list(runs),
        sections=sections,
        footer=f"Made by recbole-clickprompt {__version__}; needs no network.",
    )

"""Starts the worker processes of a benchmark: one for timing, and one per contender for memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.stages.job import Figure, Job, contenders
from benchmarks.stages.scaling import Axis
from recbole_clickprompt.errors import SettingError, UserError

__all__ = ["KEEP_MEMORY", "measure_curves", "measure_memory", "measure_scaling", "measure_time"]

# Keeps freed memory in the process. By default glibc returns large blocks to the system, and allocating them again
# causes page faults, mostly for implementations that process whole batches at once.
KEEP_MEMORY = {
    "MALLOC_TOP_PAD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 34),
}


class ChildError(UserError):
    """A worker process ended without an answer."""


def measure_time(job: Job) -> dict[str, Any]:
    """``run_job`` in a separate process; figures as ``Figure``."""
    answer = _ask({"task": "time", "job": asdict(job)}, job)
    return {**answer, "figures": [Figure(**figure) for figure in answer["figures"]]}


def measure_memory(job: Job, figures: list[Figure], report: Callable[[str], None]) -> None:
    """Measures the memory of each figure and stores it there."""
    first = 0.0
    for figure in figures:
        index = [c.name for c in contenders(figure.stage, job.variants)].index(figure.contender)
        report(f"memory of {figure.stage}, batch {figure.batch}, {figure.contender}")
        question = {"stage": figure.stage, "batch": figure.batch, "index": index}
        figure.memory_mb = _ask({"task": "memory", "job": asdict(job), **question}, job)["mb"]
        first = figure.memory_mb if index == 0 else first
        figure.memory_ratio = figure.memory_mb / first


def measure_scaling(axis: Axis, report: Callable[[str], None]) -> list[dict[str, float]]:
    """``measure_point`` for each point of an axis."""
    measured = []
    for point in axis.points:
        report(f"scaling, {axis.name}: {point.value}")
        question = {"stage": point.stage, "batch": point.batch, "contender": point.contender}
        measured.append(_ask({"task": "point", "job": asdict(point.job), **question}, point.job))
    return measured


_ROOT = Path(__file__).parents[2]


def measure_curves(job: Job, steps: int, seeds: list[int]) -> dict[str, dict[str, list[float]]]:
    """``train_curves`` in a separate process."""
    return _ask({"task": "curves", "job": asdict(job), "steps": steps, "seeds": seeds}, job)["losses"]


def _ask(question: dict[str, Any], job: Job) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key not in KEEP_MEMORY}
    # The benchmarks are not in the installed package
    environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    if job.keep_memory:
        environment |= KEEP_MEMORY
    if job.threads:
        environment["OMP_NUM_THREADS"] = str(job.threads)
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.stages.child", str(answer)]
        done = subprocess.run(command, input=json.dumps(question), text=True, env=environment, check=False)
        if not answer.is_file():
            raise ChildError(f"a process of the benchmark ended with code {done.returncode} (out of memory?)")
        result = json.loads(answer.read_text())
    if "error" in result:
        raise SettingError(result["error"])
    return result

"""A worker process of the benchmark: reads a question from standard input, writes its answer to a file."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import transformers

import recbole_clickprompt  # noqa: F401 - registers the models
from benchmarks.stages.job import Job
from recbole_clickprompt.errors import UserError

__all__ = ["answer"]


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The answer to a question of ``process``; a ``UserError`` becomes the key ``error``."""
    # Imported late, because these modules load slow parts of torch
    from benchmarks.stages.curves import train_curves
    from benchmarks.stages.memory import peak_of
    from benchmarks.stages.point import measure_point
    from benchmarks.stages.run import run_job

    job = Job(**question["job"])
    try:
        if question["task"] == "memory":
            return {"mb": peak_of(job, question["stage"], question["batch"], question["index"])}
        if question["task"] == "point":
            return measure_point(job, question["stage"], question["batch"], question["contender"])
        if question["task"] == "curves":
            return {"losses": train_curves(job, question["steps"], question["seeds"], _report)}
        result = run_job(job)
    except UserError as error:
        return {"error": str(error)}
    return {**result, "figures": [asdict(figure) for figure in result["figures"]]}


def _report(progress: str) -> None:
    print(f"bench: {progress}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    # Each contender loads the PLM, and transformers would repeat its messages each time
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    path, sys.argv = Path(sys.argv[1]), sys.argv[:1]  # RecBole reads the command line of the process
    text = json.dumps(answer(json.load(sys.stdin)))
    path.write_text(text)

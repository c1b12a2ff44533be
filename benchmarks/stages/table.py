"""Figures as a Markdown table with targets, and as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.stages.job import Figure
from recbole_clickprompt.evaluation.tables import markdown_table, write_table
from recbole_clickprompt.files import write_text

__all__ = ["TARGETS", "markdown", "write"]

# (stage, batch, contender): targets on two cores with MiniLM-L6, K = 5, rows of ml-100k
TARGETS: dict[tuple[str, int, str], dict[str, float]] = {
    ("pamlm", 64, "ours float32"): {"ratio": 2.1},
    ("pamlm", 64, "ours bf16"): {"ratio": 4.0, "share_of_peak": 0.6},
    ("pamlm", 256, "ours float32"): {"ratio": 2.3, "memory_ratio": 0.5},
    ("pamlm", 256, "ours bf16"): {"ratio": 4.4, "memory_ratio": 0.5, "share_of_peak": 0.6},
    ("finetune", 256, "ours float32"): {"ratio": 1.9},
    ("finetune", 256, "ours bf16"): {"ratio": 3.2},
    ("inference", 64, "ours float32"): {"ratio": 1.5},
    ("inference", 64, "ours bf16"): {"ratio": 3.0},
    ("inference", 256, "ours float32"): {"ratio": 1.5},
    ("inference", 256, "ours bf16"): {"ratio": 3.0},
    ("joint-pamlm", 256, "ours bf16, 2 joint"): {"ratio": 3.0},
    ("joint-finetune", 256, "ours bf16, 2 joint"): {"ratio": 3.0},
    ("joint-inference", 256, "ours bf16, 1 joint"): {"ratio": 0.33},
    ("backbone", 256, "ours float32"): {"ratio": 1.6},
    ("backbone", 2048, "ours bf16"): {"ratio": 1.9},
    ("backbone-inference", 256, "ours float32"): {"ratio": 1.0},
    ("backbone-inference", 2048, "ours float32"): {"ratio": 1.0},
}
# Lower is better
_AT_MOST = {"memory_ratio"}

_HEADER = (
    "stage", "batch", "contender", "rows/s", "ratio", "memory, MB", "of first", "GFLOP per row", "of peak",
    "target",
)  # fmt: skip
_FORMS = {"ratio": "{:.2f}x", "memory_ratio": "{:.2f}", "share_of_peak": "{:.0%}"}
_WORDS = {"ratio": "{} ratio", "memory_ratio": "{} of memory", "share_of_peak": "{} of peak"}


def markdown(figures: Sequence[Figure]) -> str:
    """The table; the last column shows for each target whether it is met, in the digits that are shown."""
    lines = [
        [
            figure.stage,
            str(figure.batch),
            figure.contender,
            f"{figure.rows_per_s:,.0f}" if figure.rows_per_s >= 1000 else f"{figure.rows_per_s:.1f}",
            _FORMS["ratio"].format(figure.ratio),
            "" if figure.memory_mb is None else f"{figure.memory_mb:,.0f}",
            "" if figure.memory_ratio is None else _FORMS["memory_ratio"].format(figure.memory_ratio),
            f"{figure.gflop_per_row:.3g}",
            _FORMS["share_of_peak"].format(figure.share_of_peak),
            ", ".join(_verdict(figure, *target) for target in _targets(figure).items()),
        ]
        for figure in figures
    ]
    return markdown_table(_HEADER, lines)


def _targets(figure: Figure) -> dict[str, float]:
    return TARGETS.get((figure.stage, figure.batch, figure.contender), {})


def _verdict(figure: Figure, name: str, target: float) -> str:
    value = getattr(figure, name)
    aim = _WORDS[name].format(_FORMS[name].format(target))
    if value is None:
        return f"{aim}: not measured"
    shown = round(value, 2)
    met = shown <= target if name in _AT_MOST else shown >= target
    if met or name != "ratio":
        return f"{aim}: {'met' if met else 'missed'}"
    # The share of peak that the target would need: near 100 % cannot be reached by any code
    return f"{aim}: missed, {figure.share_of_peak * target / value:.0%} of peak would reach it"


def write(path: Path, figures: Sequence[Figure], about: dict[str, Any]) -> None:
    """Writes the figures, to .json together with information about the run."""
    rows = [asdict(figure) for figure in figures]
    if path.suffix == ".json":
        write_text(path, json.dumps({**about, "figures": rows}, indent=1) + "\n")
        return
    write_table(pd.DataFrame(rows), path)

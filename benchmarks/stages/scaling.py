"""Growth of time and memory with text, prompts, layers, batch, vocabulary and rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.stages.job import Job
from benchmarks.stages.synthetic import write_synthetic
from recbole_clickprompt.evaluation.tables import markdown_table

__all__ = ["Axis", "Point", "axes", "scaling_markdown"]

_BATCH = 64
_FIRST_ROWS = 20_000
_FIRST_ITEMS = 10_000


@dataclass(frozen=True)
class Point:
    """A value on an axis, and the arguments of ``measure_point``."""

    value: int
    job: Job
    stage: str
    batch: int
    contender: str


@dataclass(frozen=True)
class Axis:
    """A quantity that is increased.

    Attributes:
        name: Title of the table.
        points: Values of the quantity.
        columns: Measured columns to show, and their headings.
        value: Measured column with the actual value, if the job sets it only indirectly.
        time: Column whose growth is reported.
    """

    name: str
    points: list[Point]
    columns: dict[str, str]
    value: str | None = None
    time: str = "ms_per_row"


_COST = {"ms_per_row": "ms per row", "mb": "memory, MB"}
_START = {"read_s": "reading, s", "tokens_s": "token table, s", "tokens_again_s": "second time, s",
          "tokens_mb": "table memory, MB", "tokens_peak_mb": "peak memory, MB"}  # fmt: skip


def axes(job: Job, folder: Path, *, quick: bool) -> list[Axis]:
    """The axes: PA-MLM in bf16 on the job's data set, the plain backbone on synthetic ones.

    Args:
        job: Provides data set, device, threads, repeats and settings.
        folder: Folder for the synthetic data sets.
        quick: Only the first value of each axis, and a small vocabulary.
    """
    layers = job.settings.get("plm_num_layers")
    selected = slice(0, 1 if quick else None)

    def with_plm(values: Sequence[int], change: Callable[[int], dict[str, Any]]) -> list[Point]:
        jobs = {value: replace(job, settings={**job.settings, **change(value)}) for value in values[selected]}
        return [Point(v, changed, "pamlm", 8 if quick else _BATCH, "ours bf16") for v, changed in jobs.items()]

    batches = [Point(b, job, "pamlm", b, "ours bf16") for b in [16, 64, 256, 1024][selected]]
    depth = with_plm([1, 2, 4, 6] if layers is None else [layers], lambda n: {"plm_num_layers": n})
    items = [100] if quick else [_FIRST_ITEMS, 100_000, 1_000_000]
    rows = [400] if quick else [_FIRST_ROWS, 200_000, 2_000_000]
    smallest = {"items": items[0], "rows": rows[0]}
    return [
        Axis("text length, tokens", with_plm([0, 2, 6, 14], lambda n: _longer(n, job)), _COST, "tokens_per_row"),
        Axis("prompts per layer, K", with_plm([1, 5, 10, 20, 40], lambda k: {"num_prompts": k}), _COST),
        Axis("layers", depth, _COST),
        Axis("batch", batches, _COST),
        Axis("ids of the vocabulary", _synthetic(job, folder, "items", items, smallest), {**_COST, **_START}),
        Axis(
            "rows of the data",
            _synthetic(job, folder, "rows", rows, smallest),
            {**_COST, "read_s": _START["read_s"]},
            time="read_s",
        ),
    ]


def _longer(times: int, job: Job) -> dict[str, Any]:
    # Extends the name of one field by 24 tokens each time
    from recbole_clickprompt.host.properties import load_properties

    properties = load_properties(model="ClickPrompt", dataset=job.dataset, external=job.settings)
    fields = dict(job.settings.get("text_fields") or properties["text_fields"])
    last = list(fields)[-1]
    fields[last] = " ".join([fields[last], *["of the film that is here"] * 4 * times])
    return {"text_fields": fields}


def _synthetic(job: Job, folder: Path, axis: str, values: Sequence[int], smallest: dict[str, int]) -> list[Point]:
    points = []
    for value in values:
        settings = write_synthetic(folder / f"{axis}-{value}", **{**smallest, axis: value})
        # A folder without cached tokens of an earlier measurement
        settings = {**settings, "checkpoint_dir": str(folder / "saved")}
        changed = replace(job, dataset="synthetic", settings={**job.settings, **settings})
        points.append(Point(value, changed, "backbone", min(2048, smallest["rows"] // 4), "ours float32"))
    return points


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def scaling_markdown(axis: Axis, measured: Sequence[dict[str, float]]) -> str:
    """The Markdown table of an axis.

    The last column is the exponent of the growth of time from one line to the next: 0 is constant, 1 is linear.
    """
    header = [axis.name, *axis.columns.values(), f"growth of {axis.columns[axis.time]}"]
    lines = []
    before: tuple[float, float] | None = None
    for point, figures in zip(axis.points, measured, strict=True):
        value = figures[axis.value] if axis.value else point.value
        time = figures[axis.time]
        growth = "" if before is None else f"{math.log(time / before[1]) / math.log(value / before[0]):.2f}"
        lines.append([f"{value:,.0f}", *(_short(figures[name]) for name in axis.columns), growth])
        before = (value, time)
    return markdown_table(header, lines)

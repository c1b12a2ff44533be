"""``costs.json`` of a run folder: what a trained model costs, as `recbole-cp grid` measured it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.tables import markdown_table
from recbole_clickprompt.evaluation.value_checks import short_repr
from recbole_clickprompt.files import write_text

__all__ = ["COSTS_FILE", "COST_HEADER", "Costs", "cost_cells", "costs_table", "read_costs", "write_costs"]

COSTS_FILE = "costs.json"
COST_HEADER = (
    "model", "parameters", "when serving", "training minutes", "ms per 128 rows, warm", "cold", "bytes per item",
    "teacher tokens",
)  # fmt: skip


class Costs(NamedTuple):
    """What a trained model costs.

    Attributes:
        parameters: Of the largest model that training builds, in any stage.
        served_parameters: Those that are read to score a known user and a known item.
        minutes: Training, with the stages that this run did not reuse.
        warm_ms: Median milliseconds for 128 rows of known users and items, with filled caches.
        warm_p95_ms: Their 95th percentile.
        cold_ms: The same for what no cache holds; None for a model that caches nothing, where it is ``warm_ms``.
        item_bytes: Bytes stored per item: embeddings of its id, vectors, codes and states of its text.
        teacher_tokens: Tokens of the prompts and answers of the teacher; None if they were not recorded.
        how: How times were measured, in words.
    """

    parameters: int
    served_parameters: int
    minutes: float
    warm_ms: float
    warm_p95_ms: float
    cold_ms: float | None
    item_bytes: int
    teacher_tokens: int | None
    how: str


def write_costs(folder: Path, costs: Costs) -> None:
    """Writes ``costs.json`` of a run folder."""
    write_text(folder / COSTS_FILE, f"{json.dumps(costs._asdict(), indent=1, ensure_ascii=False)}\n")


def read_costs(folder: Path) -> Costs | None:
    """The costs of a run; None if they were not measured.

    Raises:
        DataError: The file is damaged, or a value is missing or has the wrong type.
    """
    file = folder / COSTS_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}; remove it, or run the grid again") from error
    if not isinstance(content, dict) or content.keys() != set(Costs._fields):
        raise DataError(f"{file} must hold {', '.join(Costs._fields)}; remove it, or run the grid again")
    for name, value in content.items():
        if not _fits(name, value):
            raise DataError(
                f"{file}: {name} is {short_repr(value)}, which it cannot be; remove it, or run the grid again"
            )
    return Costs(**content)


def _fits(name: str, value: object) -> bool:
    if name == "how":
        return isinstance(value, str)
    if value is None:
        return name in ("cold_ms", "teacher_tokens")
    kind = int | float if name.endswith(("_ms", "minutes")) else int
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    return value >= 0 and math.isfinite(value) and (value > 0 or not name.endswith("_ms"))


def costs_table(costs: Mapping[str, Costs]) -> str:
    """Costs by the run's name as a Markdown table."""
    return markdown_table(COST_HEADER, [cost_cells(name, run) for name, run in costs.items()])


def cost_cells(name: str, costs: Costs) -> list[str]:
    """A line of a table with ``COST_HEADER``."""
    return [
        name,
        f"{costs.parameters:,}",
        f"{costs.served_parameters:,}",
        f"{costs.minutes:.2f}",
        f"{costs.warm_ms:.3f}",
        "as warm" if costs.cold_ms is None else f"{costs.cold_ms:.3f}",
        f"{costs.item_bytes:,}",
        "not recorded" if costs.teacher_tokens is None else f"{costs.teacher_tokens:,}",
    ]

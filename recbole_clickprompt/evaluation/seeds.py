"""Metrics of all runs of a grid on subsets of the test rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.metrics import auc, log_loss
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.evaluation.summary import check_seeds

__all__ = ["Cut", "measure_grid", "varied"]

# Maps predictions and counts of training rows to masks of the predictions, by the subset's name
Cut = Callable[[pd.DataFrame, pd.DataFrame], Mapping[str, np.ndarray]]


def varied(results: pd.DataFrame) -> list[str]:
    """The settings that a grid varied: the columns between ``run`` and ``seed``.

    Raises:
        DataError: The table is not that of a grid, or of a version that did not record checkpoints.
    """
    columns = list(results.columns)
    if "run" not in columns or "seed" not in columns or "checkpoint" not in columns:
        raise DataError(
            f"the table of a grid must have columns run, seed and checkpoint, got {', '.join(columns) or 'none'}; "
            "create it with `recbole-cp grid`"
        )
    return columns[columns.index("run") + 1 : columns.index("seed")]


def measure_grid(results: pd.DataFrame, cut: Cut, *, split: str) -> pd.DataFrame:
    """AUC and log loss of every run of a grid on subsets of its rows.

    Args:
        results: The table of the grid.
        cut: Divides the rows of a run into subsets.
        split: ``valid`` or ``test``.

    Returns:
        One line per run, setting, seed and subset, as ``summarize`` takes it: ``run``, the varied settings,
        ``subset``, ``seed``, ``rows``, ``auc`` (nan if the subset has only one class) and ``logloss``.

    Raises:
        DataError: There are no runs; a run's folder is missing or has other rows than the first one's; or a run
            would count twice, because two rows have the same seed or two seeds the same scores.
    """
    keys = ["run", *varied(results)]
    if results.empty:
        raise DataError("the table of the grid has no valid row; create it with `recbole-cp grid`")
    check_seeds(results, keys[1:])
    seeds: dict[tuple[str, ...], Any] = {}
    lines: list[dict[str, Any]] = []
    first: pd.DataFrame | None = None
    for row in results.to_dict("records"):
        if not isinstance(row["checkpoint"], str):
            raise DataError(f"run {row['run']!r}, seed {row['seed']}, has no run folder; leave it out of the grid")
        run = open_run(Path(row["checkpoint"]))
        table = run.predictions(split)
        rows = table[["user", "item", "label"]]
        first = rows if first is None else first
        if not rows.equals(first):
            raise DataError(
                f"{row['checkpoint']} was tested on different rows than {results['checkpoint'].iloc[0]}"
            )
        scores = hashlib.sha256(table["score"].to_numpy().tobytes()).hexdigest()
        seed = seeds.setdefault((*(str(row[key]) for key in keys), scores), row["seed"])
        if seed != row["seed"]:
            raise DataError(
                f"run {row['run']!r} has the same scores under seed {seed} and seed {row['seed']}: one run would "
                f"count twice; remove one of these rows, such as that of {row['checkpoint']}"
            )
        for subset, mask in cut(table, run.train_counts()).items():
            label, score = table["label"][mask].to_numpy(), table["score"][mask].to_numpy()
            measured = {"rows": len(label), "auc": auc(label, score), "logloss": log_loss(label, score)}
            lines.append({**{key: row[key] for key in keys}, "subset": subset, "seed": row["seed"], **measured})
    return pd.DataFrame(lines)

"""Subsets of test rows over all runs of a grid: one line for each run, setting, seed and subset."""

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

# (predictions, counts of training rows) to masks of the predictions, by the subset's name
Cut = Callable[[pd.DataFrame, pd.DataFrame], Mapping[str, np.ndarray]]


def varied(results: pd.DataFrame) -> list[str]:
    """The settings that a grid varied: the columns between ``run`` and ``seed``.

    Raises:
        DataError: It is no grid's table, or one made before grids noted their checkpoints.
    """
    columns = list(results.columns)
    if "run" not in columns or "seed" not in columns or "checkpoint" not in columns:
        raise DataError(
            f"a grid's table has columns run, seed and checkpoint, this one {', '.join(columns) or 'none'}; "
            "make it with `recbole-cp grid`"
        )
    return columns[columns.index("run") + 1 : columns.index("seed")]


def measure_grid(results: pd.DataFrame, cut: Cut, *, split: str) -> pd.DataFrame:
    """AUC and log loss of every run of a grid on subsets of its rows.

    Args:
        results: The grid's table.
        cut: What the subsets are.
        split: ``valid`` or ``test``.

    Returns:
        ``run``, the varied settings, ``subset``, ``seed``, ``rows``, ``auc`` (nan where a subset has one class
        only) and ``logloss``: what ``summarize`` takes.

    Raises:
        DataError: A run's folder is not there, or has other rows than the first one's; a run would count twice, as
            two rows are of one seed or two seeds have the same scores; or there are no runs.
    """
    keys = ["run", *varied(results)]
    if results.empty:
        raise DataError("the grid's table has no row that counts; make it with `recbole-cp grid`")
    check_seeds(results, keys[1:])
    seeds: dict[tuple[str, ...], Any] = {}
    lines: list[dict[str, Any]] = []
    first: pd.DataFrame | None = None
    for row in results.to_dict("records"):
        if not isinstance(row["checkpoint"], str):
            raise DataError(
                f"run {row['run']!r}, seed {row['seed']}, has left no folder; leave it out of the grid"
            )
        run = open_run(Path(row["checkpoint"]))
        table = run.predictions(split)
        rows = table[["user", "item", "label"]]
        first = rows if first is None else first
        if not rows.equals(first):
            raise DataError(f"{row['checkpoint']} was tested on other rows than {results['checkpoint'].iloc[0]}")
        scores = hashlib.sha256(table["score"].to_numpy().tobytes()).hexdigest()
        seed = seeds.setdefault((*(str(row[key]) for key in keys), scores), row["seed"])
        if seed != row["seed"]:
            raise DataError(
                f"run {row['run']!r} has the same scores under seed {seed} and seed {row['seed']}: one run would "
                f"count twice; leave one of these rows out, such as that of {row['checkpoint']}"
            )
        for subset, mask in cut(table, run.train_counts()).items():
            label, score = table["label"][mask].to_numpy(), table["score"][mask].to_numpy()
            measured = {"rows": len(label), "auc": auc(label, score), "logloss": log_loss(label, score)}
            lines.append({**{key: row[key] for key in keys}, "subset": subset, "seed": row["seed"], **measured})
    return pd.DataFrame(lines)

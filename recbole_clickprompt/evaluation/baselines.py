"""Trivial baselines: what means of labels and a linear model reach on the rows of a run.

Their scores are columns of a run's predictions; ``trainer/baselines.py`` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.metrics import auc, gauc, log_loss
from recbole_clickprompt.evaluation.run_folder import open_run

__all__ = [
    "BASELINES",
    "Baselines",
    "baseline_tables",
    "better_baseline",
    "better_baselines",
    "grid_baselines",
    "measure_baselines",
]

# Name: column of the predictions
BASELINES = {
    "item mean": "baseline_item_mean",
    "user mean": "baseline_user_mean",
    "logistic regression": "baseline_logistic_regression",
}
_SHOWN = ("auc", "logloss")
# By baseline and split: AUC, log loss and GAUC
Baselines: TypeAlias = dict[str, dict[str, dict[str, float]]]


def baseline_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The predictions of the baselines, each like those of a run.

    Args:
        tables: Predictions of one split, by the run's name.

    Returns:
        Predictions by the baseline's name, to which the run's name is added if the baselines of two runs differ.
        Empty if the runs have none.
    """
    found: dict[str, pd.DataFrame] = {}
    for name, column in BASELINES.items():
        of_runs = {run: _of_baseline(table, column) for run, table in tables.items() if column in table}
        first, *others = of_runs.values() or [pd.DataFrame()]
        if of_runs and all(table.equals(first) for table in others):
            found[f"{name}, baseline" if name in tables else name] = first
        else:
            found |= {f"{name}, {run}": table for run, table in of_runs.items()}
    return found


def _of_baseline(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table[["user", "item", "label", "time"]].assign(score=table[column].astype("float64"))


def measure_baselines(tables: Mapping[str, pd.DataFrame]) -> Baselines:
    """Metrics of the baselines of one run.

    Args:
        tables: Rows by split, none without baselines: columns ``user``, ``label`` and those of the baselines.

    Returns:
        By baseline and split: ``auc``, ``logloss``, ``gauc``.
    """
    return {
        name: {split: _measure(table, column) for split, table in tables.items()}
        for name, column in BASELINES.items()
        if tables
    }


def _measure(table: pd.DataFrame, column: str) -> dict[str, float]:
    label, score = table["label"], table[column]
    return {"auc": auc(label, score), "logloss": log_loss(label, score), "gauc": gauc(table["user"], label, score)}


def better_baseline(title: str, value: float, baselines: Mapping[str, float]) -> str:
    """A sentence that names the best baseline if it beats a model on the validation rows; else empty.

    Args:
        title: The model.
        value: Its AUC on the validation rows.
        baselines: AUC of the baselines on these rows, by name.
    """
    if not baselines:
        return ""
    name = max(baselines, key=lambda name: baselines[name])
    if not baselines[name] > value:  # also if the value is nan
        return ""
    return (
        f"{name[0].upper()}{name[1:]} beats {title} on the validation rows: AUC {baselines[name]:.4f} against "
        f"{value:.4f}."
    )


def better_baselines(valid: Mapping[str, pd.DataFrame]) -> list[str]:
    """The sentences of ``better_baseline`` for runs that a baseline beats.

    Args:
        valid: Predictions of the validation rows, by the run's name; runs without such rows are left out.
    """
    sentences = [
        better_baseline(
            run,
            auc(table["label"], table["score"]),
            {name: auc(table["label"], table[column]) for name, column in BASELINES.items() if column in table},
        )
        for run, table in valid.items()
        if len(table)
    ]
    return [sentence for sentence in sentences if sentence]


def grid_baselines(results: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """The baselines on the test rows of a grid's runs, each once for each seed.

    Args:
        results: The table of the grid.
        by: Settings that were varied.

    Returns:
        Columns ``run`` (name of the baseline), ``seed``, ``auc`` and ``logloss``, as ``summarize`` takes them. If
        runs differ in their rows, the names contain the run and its varied settings. Runs without a folder are
        left out.
    """
    lines = []
    for row in results.to_dict("records"):
        found: Baselines = {}
        with suppress(DataError):  # the run was removed; its results are still in the table
            found = open_run(Path(str(row.get("checkpoint")))).info["baselines"]
        where = ", ".join(str(row[name]) for name in ("run", *by))
        lines += [
            {"run": name, "where": where, "seed": row["seed"], **{key: splits["test"][key] for key in _SHOWN}}
            for name, splits in found.items()
            if "test" in splits
        ]
    table = pd.DataFrame(lines, columns=["run", "where", "seed", *_SHOWN])
    distinct = table.drop_duplicates(["run", "seed", *_SHOWN])
    if distinct.duplicated(["run", "seed"]).any():
        distinct = table.assign(run=table["run"] + ", " + table["where"])
    return distinct.drop(columns="where")

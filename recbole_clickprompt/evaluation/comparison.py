"""Comparison of runs on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.metrics import measure, rela_impr, relative_auc
from recbole_clickprompt.evaluation.significance import bootstrap, delong_test, interval_of, two_sided

__all__ = ["SEED_NOTE", "check_baseline", "check_same_rows", "compare_runs"]

SEED_NOTE = (
    "p-values and intervals are about the choice of rows and do not include the variance between seeds, for which "
    "recbole-cp grid repeats runs."
)
_ROW = ("split", "user", "item", "label", "time")


def check_same_rows(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuses tables of predictions unless they have the same rows in the same order.

    Raises:
        DataError: Two tables differ; names the first row that does.
    """
    (first, base), *others = tables.items()
    for name, table in others:
        problem = None
        if len(table) != len(base):
            problem = f"{len(base):,} rows and {len(table):,}"
        else:
            for column in (c for c in _ROW if c in base and c in table):
                left, right = base[column].astype(object), table[column].astype(object)
                unequal = ((left != right) & ~(left.isna() & right.isna())).to_numpy(dtype=bool)
                if unequal.any():
                    row = int(unequal.argmax())
                    problem = f"{column} of row {row}: {left.iloc[row]} and {right.iloc[row]}"
                    break
        if problem:
            raise DataError(
                f"{first} and {name} were tested on different rows ({problem}); "
                "compare runs of one data set and one split"
            )


def check_baseline(baseline: str, tables: Mapping[str, pd.DataFrame]) -> None:
    """Raises SettingError if the baseline is not one of the runs."""
    if baseline not in tables:
        raise SettingError(f"the baseline must be one of {', '.join(tables)}, got {baseline!r}")


def compare_runs(
    tables: Mapping[str, pd.DataFrame],
    *,
    baseline: str | None = None,
    samples: int = 1000,
    seed: int = 2020,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Metrics of each run with intervals, and tests against a baseline.

    Args:
        tables: Predictions of one split, by the run's name.
        baseline: The run to compare with. Without one, runs may have different rows.
        samples: Bootstrap draws.
        seed: Seed of the draws.
        confidence: Confidence level of the intervals.

    Returns:
        One line per run: ``run``, the metrics of ``measure``, ``auc_low``, ``auc_high``, ``logloss_low``,
        ``logloss_high``; with a baseline also (missing on its own line) ``relative_auc``, ``rela_impr``,
        ``auc_difference`` with ``_low``, ``_high``, and its p-values ``p_delong`` and ``p_bootstrap``,
        ``logloss_difference`` with ``_low``, ``_high`` and ``p_bootstrap_logloss``.

    Raises:
        SettingError: The baseline is not one of the runs.
        DataError: A run has other rows than the baseline, or rows that cannot be measured.
    """
    if baseline is not None:
        check_baseline(baseline, tables)
        check_same_rows({baseline: tables[baseline], **tables})
    measured = {name: measure(table) for name, table in tables.items()}
    draws = _draws(tables, together=baseline is not None, samples=samples, seed=seed)
    lines = []
    for name, table in tables.items():
        line: dict[str, Any] = {"run": name, **measured[name]}
        for metric in ("auc", "logloss"):
            line |= interval_of(metric, draws[name][metric], confidence=confidence)
        if baseline is not None and name != baseline:
            line |= _against(measured[name], measured[baseline], draws[name], draws[baseline], confidence)
            line["p_delong"] = _p_delong(table["label"], table["score"], tables[baseline]["score"])
        lines.append(line)
    return pd.DataFrame(lines)


def _against(
    run: dict[str, float],
    base: dict[str, float],
    run_draws: dict[str, np.ndarray],
    base_draws: dict[str, np.ndarray],
    confidence: float,
) -> dict[str, float]:
    found = {
        "relative_auc": relative_auc(run["auc"], base["auc"]),
        "rela_impr": rela_impr(run["auc"], base["auc"]),
    }
    for metric, p in (("auc", "p_bootstrap"), ("logloss", "p_bootstrap_logloss")):
        differences = run_draws[metric] - base_draws[metric]
        found[f"{metric}_difference"] = run[metric] - base[metric]
        found |= interval_of(f"{metric}_difference", differences, confidence=confidence)
        found[p] = two_sided(differences)
    return found


def _draws(
    tables: Mapping[str, pd.DataFrame], *, together: bool, samples: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    # Drawn together, runs on the same rows see the same draws, which makes comparisons paired
    groups = [list(tables)] if together else [[name] for name in tables]
    found = {}
    for names in groups:
        label, scores = tables[names[0]]["label"], [tables[name]["score"] for name in names]
        draws = bootstrap(label, scores, samples=samples, seed=seed)
        for number, name in enumerate(names):
            found[name] = {metric: values[:, number] for metric, values in draws._asdict().items()}
    return found


def _p_delong(label: pd.Series, score: pd.Series, base: pd.Series) -> float:
    # With a single row of a class there is an AUC, but no test
    classes = np.bincount(label.to_numpy(dtype=np.int64), minlength=2)
    return delong_test(label, score, base).p if classes.min() > 1 else float("nan")

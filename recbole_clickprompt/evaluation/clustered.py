"""Comparison of the runs of a grid over seeds and users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.comparison import check_same_rows
from recbole_clickprompt.evaluation.metrics import measure, rela_impr, relative_auc
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.evaluation.significance import bootstrap, holm, two_sided
from recbole_clickprompt.evaluation.summary import check_seeds, spread
from recbole_clickprompt.evaluation.tables import markdown_table, number, percent

__all__ = ["CLUSTERED_NOTE", "compare_methods", "quality_table"]

CLUSTERED_NOTE = (
    "p (users): bootstrap over users of the difference in AUC of scores averaged over seeds; p (seeds): paired "
    "t-test on the AUC of each seed. Both are two-sided and corrected by Holm for all comparisons "
    "with the baseline."
)
_METRICS = ("auc", "logloss", "gauc")


def compare_methods(
    results: pd.DataFrame, *, baseline: str, samples: int = 5000, seed: int = 2020
) -> pd.DataFrame:
    """Test metrics of the runs of a grid, and two tests against a baseline with different questions.

    The bootstrap resamples users, each with all of their rows, on the mean of a run's scores over its seeds: would
    the methods differ on other users? The t-test pairs runs by seed: would they differ in other training runs?

    Args:
        results: One row per run and seed, with columns ``run``, ``seed`` and ``checkpoint``.
        baseline: The run that others are compared with.
        samples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One line per run: ``run``, ``seeds``, mean and standard deviation (n - 1; missing for one seed) of ``auc``,
        ``logloss`` and ``gauc``, such as ``auc`` and ``auc_sd``; and, missing for the baseline, ``relative_auc``
        and ``rela_impr`` of the mean AUC, ``p_users`` and ``p_seeds`` (missing for less than two seeds in common),
        both after Holm's correction.

    Raises:
        DataError: A seed would count twice, a run has no folder or no predictions, or test rows differ.
    """
    check_seeds(results, [])
    tables = _predictions(results)
    check_same_rows({f"{run}, seed {number}": table for (run, number), table in tables.items()})
    first = next(iter(tables.values()))
    seeds = {run: [number for name, number in tables if name == run] for run, _ in tables}
    measured = {key: measure(table) for key, table in tables.items()}
    scores = {
        run: np.mean([tables[run, number]["score"].to_numpy() for number in numbers], axis=0)
        for run, numbers in seeds.items()
    }
    draws = bootstrap(first["label"], [*scores.values()], samples=samples, seed=seed, clusters=first["user"]).auc
    columns = dict(zip(scores, draws.T, strict=True))
    lines: list[dict[str, Any]] = []
    for run, numbers in seeds.items():
        line: dict[str, Any] = {"run": run, "seeds": len(numbers)}
        for metric in _METRICS:
            values = pd.Series([measured[run, number][metric] for number in numbers])
            line[metric], line[f"{metric}_sd"] = values.mean(), values.std()
        line |= dict.fromkeys(("relative_auc", "rela_impr", "p_users", "p_seeds"), float("nan"))
        if run != baseline:
            line["p_users"] = two_sided(columns[run] - columns[baseline])
            line["p_seeds"] = _paired(measured, run, baseline)
        lines.append(line)
    table = pd.DataFrame(lines)
    base = float(table.loc[table["run"] == baseline, "auc"].iloc[0])
    others = table["run"] != baseline
    table.loc[others, "relative_auc"] = [relative_auc(value, base) for value in table.loc[others, "auc"]]
    table.loc[others, "rela_impr"] = [rela_impr(value, base) for value in table.loc[others, "auc"]]
    for name in ("p_users", "p_seeds"):
        table[name] = holm(table[name])
    return table


def _predictions(results: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """Test rows of each run and seed."""
    tables = {}
    for row in results.to_dict("records"):
        if not isinstance(row["checkpoint"], str):
            raise DataError(f"run {row['run']!r}, seed {row['seed']}, has no run folder; leave it out of the grid")
        tables[str(row["run"]), int(row["seed"])] = open_run(Path(row["checkpoint"])).predictions("test")
    return tables


def _paired(measured: Mapping[tuple[str, int], Mapping[str, float]], run: str, baseline: str) -> float:
    """p-value of a paired t-test on the AUC of common seeds; nan for less than two, 1 if they are equal."""
    common = [number for name, number in measured if name == run and (baseline, number) in measured]
    if len(common) < 2:
        return float("nan")
    ours, theirs = ([measured[name, number]["auc"] for number in common] for name in (run, baseline))
    return 1.0 if ours == theirs else float(ttest_rel(ours, theirs).pvalue)


def quality_table(table: pd.DataFrame) -> str:
    """The result of ``compare_methods`` as a Markdown table: mean ± standard deviation with four decimals."""
    header = [
        "model", "seeds", "AUC", "LogLoss", "GAUC", "relative AUC", "RelaImpr", "p (users)", "p (seeds)"
    ]  # fmt: skip
    rows = [
        [
            line["run"],
            str(line["seeds"]),
            *(spread(line[metric], line[f"{metric}_sd"]) for metric in _METRICS),
            percent(line["relative_auc"]),
            percent(line["rela_impr"]),
            number(line["p_users"], ".3g"),
            number(line["p_seeds"], ".3g"),
        ]
        for line in table.to_dict("records")
    ]
    return markdown_table(header, rows)

"""Means, standard deviations and paired tests over the seeds of a results table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy.stats import ttest_rel

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.tables import markdown_table, number

__all__ = ["check_seeds", "markdown", "spread", "summarize"]


def summarize(results: pd.DataFrame, *, by: Sequence[str], baseline: str | None) -> pd.DataFrame:
    """Summarizes runs over their seeds.

    Args:
        results: One row per run, with columns ``run``, ``seed``, ``auc``, ``logloss`` and those of ``by``.
        by: Settings that were varied.
        baseline: The run that others are compared with, seed by seed and within equal settings.

    Returns:
        One line per run and setting, in the order of the table: ``run``, the columns of ``by``, ``seeds``, mean
        and standard deviation (n - 1; missing for one seed) of AUC and log loss; over the seeds that both have
        ``improvement`` of the mean AUC in percent of the baseline's, and ``p``, two-sided, of a paired t-test on
        AUC (missing for less than two seeds).

    Raises:
        DataError: A seed would count twice, see ``check_seeds``.
    """
    check_seeds(results, by)
    keys = ["run", *by]
    lines = []
    for key, group in results.groupby(keys, sort=False, dropna=False):
        line: dict[str, Any] = dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True))
        line["seeds"] = len(group)
        for metric in ("auc", "logloss"):
            line[metric], line[f"{metric}_sd"] = group[metric].mean(), group[metric].std()
        same = results["run"] == baseline
        for name in by:
            same &= results[name].isna() if pd.isna(line[name]) else results[name] == line[name]
        pairs = group.merge(results[same], on="seed", suffixes=("", "_base"))
        if line["run"] != baseline and len(pairs):
            line["improvement"] = 100 * (pairs["auc"].mean() / pairs["auc_base"].mean() - 1)
            if len(pairs) > 1:
                line["p"] = float(ttest_rel(pairs["auc"], pairs["auc_base"]).pvalue)
        lines.append(line)
    columns = [*keys, "seeds", "auc", "auc_sd", "logloss", "logloss_sd", "improvement", "p"]
    return pd.DataFrame(lines, columns=columns)


def check_seeds(results: pd.DataFrame, by: Sequence[str]) -> None:
    """Refuses a table in which a seed would count twice.

    Raises:
        DataError: A run has two rows with one seed and equal varied settings; names them.
    """
    keys = ["run", *by, "seed"]
    counts = results.groupby(keys, sort=False, dropna=False).size().reset_index(name="rows")
    twice = counts[counts["rows"] > 1].to_dict("records")
    if twice:
        run = ", ".join(f"{key} {_plain(twice[0][key])}" for key in keys)
        raise DataError(
            f"{run} has {twice[0]['rows']} rows, but a seed may count only once: they are copies or differ in "
            "other settings; keep one of them, or use separate tables"
        )


def markdown(summary: pd.DataFrame, *, by: Sequence[str]) -> str:
    """A summary as a Markdown table: mean ± standard deviation with four decimals."""
    header = ["model", *by, "seeds", "AUC", "LogLoss", "relative AUC", "p"]
    rows = [
        [
            str(line["run"]),
            *(_plain(line[name]) for name in by),
            str(line["seeds"]),
            spread(line["auc"], line["auc_sd"]),
            spread(line["logloss"], line["logloss_sd"]),
            number(line["improvement"], "+.2f") + ("" if pd.isna(line["improvement"]) else " %"),
            number(line["p"], ".3f"),
        ]
        for line in summary.to_dict("records")
    ]
    return markdown_table(header, rows)


def spread(mean: float, deviation: float) -> str:
    """``mean ± deviation`` with four decimals; the mean alone if the deviation is missing."""
    return number(mean) if pd.isna(deviation) else f"{mean:.4f} ± {deviation:.4f}"


def _plain(value: str | float | None) -> str:
    if pd.isna(value):
        return "None"
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column with missing values has integers as floats
    return str(value)

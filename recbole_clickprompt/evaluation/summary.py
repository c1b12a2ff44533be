"""Means, spreads and paired tests over the seeds of a results table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy.stats import ttest_rel

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.tables import markdown_table, number

__all__ = ["check_seeds", "markdown", "summarize"]


def summarize(results: pd.DataFrame, *, by: Sequence[str], baseline: str | None) -> pd.DataFrame:
    """One line for each run and setting, in the order of the table.

    Args:
        results: A row for each run, with columns ``run``, ``seed``, ``auc``, ``logloss`` and those of ``by``.
        by: Settings that were varied.
        baseline: The run that others are compared with, seed by seed and within equal settings.

    Returns:
        Columns ``run``, those of ``by``, ``seeds``, and of AUC and log loss mean and standard deviation (n - 1;
        missing for one seed); ``improvement``, relative, in percent of the baseline's mean AUC; ``p``, two-sided,
        of a paired t-test on AUC over the seeds that both have (missing below two).

    Raises:
        DataError: As ``check_seeds``.
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
    """Refuses rows that would count as several seeds and are of one.

    Raises:
        DataError: A run has two rows of one seed with equal varied settings; names them.
    """
    keys = ["run", *by, "seed"]
    counts = results.groupby(keys, sort=False, dropna=False).size().reset_index(name="rows")
    twice = counts[counts["rows"] > 1].to_dict("records")
    if twice:
        told = ", ".join(f"{key} {_plain(twice[0][key])}" for key in keys)
        raise DataError(
            f"{told} has {twice[0]['rows']} rows, and a seed counts once: they are copies, or of other settings; "
            "leave one of them, or give each kind a table of its own"
        )


def markdown(summary: pd.DataFrame, *, by: Sequence[str]) -> str:
    """A summary as a Markdown table; four decimals, spreads behind ±."""

    def spread(mean: float, deviation: float) -> str:
        return f"{mean:.4f}" if pd.isna(deviation) else f"{mean:.4f} ± {deviation:.4f}"

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


def _plain(value: Any) -> str:
    if pd.isna(value):
        return "None"
    whole = isinstance(value, float) and value.is_integer()  # a number beside a missing one is a float
    return str(int(value) if whole else value)

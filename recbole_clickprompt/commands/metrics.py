"""Measure finished runs, and test them against a baseline.

AUC and log loss with bootstrap intervals (percentile, rows drawn with replacement); GAUC, the AUC within users
weighted by their rows, users of one class left out; ECE over 15 bins of equal width; predicted over observed, the
sum of scores over the number of positive rows.

With --baseline also: relative AUC (AUC / AUC of the baseline - 1, as in the paper), RelaImpr (the same of
AUC - 0.5), the differences with paired bootstrap intervals, and two-sided p of DeLong's test and of the bootstrap.
Runs must then have been tested on the same rows.

Reads nothing but the run folders: no data set, no model, no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd

from recbole_clickprompt.commands.runs import (
    add_runs,
    add_sampling,
    bootstrap_options,
    check_options,
    emit_table,
    parse_runs,
)
from recbole_clickprompt.evaluation.comparison import compare_runs
from recbole_clickprompt.evaluation.tables import markdown_table, number, percent, with_interval

__all__ = ["add_arguments", "execute", "markdown"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs and how they are measured."""
    add_runs(parser)
    add_sampling(parser)


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints one table of metrics and, with a baseline, one of differences."""
    check_options(options, settings)
    runs, baseline = parse_runs(options)
    tables = {name: run.predictions(options.split) for name, run in runs.items()}
    table = compare_runs(tables, baseline=baseline, **bootstrap_options(options))
    emit_table(table, markdown(table, confidence=options.confidence), out=options.out)


def markdown(table: pd.DataFrame, *, confidence: float = 0.95) -> str:
    """What ``compare_runs`` gives, as one or two Markdown tables."""
    level = f"[{100 * confidence:g} %]"
    compared = "relative_auc" in table
    header = ["run", "rows", f"AUC {level}", f"LogLoss {level}", "GAUC", "ECE", "predicted / observed"]
    rows = [
        [
            line["run"],
            f"{line['rows']:,}",
            with_interval(line["auc"], line["auc_low"], line["auc_high"]),
            with_interval(line["logloss"], line["logloss_low"], line["logloss_high"]),
            number(line["gauc"]),
            number(line["ece"]),
            number(line["predicted_over_observed"], ".3f"),
            *([percent(line["relative_auc"]), percent(line["rela_impr"])] if compared else []),
        ]
        for line in table.to_dict("records")
    ]
    text = markdown_table([*header, *(["relative AUC", "RelaImpr"] if compared else [])], rows)
    return f"{text}\n\n{_differences(table, level)}" if compared else text


def _differences(table: pd.DataFrame, level: str) -> str:
    p = "p (bootstrap)"
    header = ["run, less the baseline", f"AUC {level}", "p (DeLong)", p, f"LogLoss {level}", p]
    rows = []
    for line in table[table["logloss_difference"].notna()].to_dict("records"):
        auc, logloss = (
            with_interval(
                line[f"{m}_difference"], line[f"{m}_difference_low"], line[f"{m}_difference_high"], "+.4f"
            )
            for m in ("auc", "logloss")
        )
        p_delong, p_auc, p_logloss = (
            number(line[key], ".3g") for key in ("p_delong", "p_bootstrap", "p_bootstrap_logloss")
        )
        rows.append([line["run"], auc, p_delong, p_auc, logloss, p_logloss])
    return markdown_table(header, rows)

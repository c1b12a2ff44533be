"""Measure finished runs, and test them against a baseline.

AUC and log loss with bootstrap intervals (percentile, rows drawn with replacement); GAUC, the mean AUC within
users weighted by their number of rows, without users that have one class only; ECE over 15 bins of equal width;
predicted / observed, the sum of scores divided by the number of positive rows.

With --baseline also: relative AUC (AUC / AUC of the baseline - 1, as in the paper), RelaImpr (the same for
AUC - 0.5), the differences with paired bootstrap intervals, and two-sided p-values of DeLong's test and of the
bootstrap. Runs must then have been tested on the same rows. p-values do not include the variance between seeds.

Trivial baselines (item mean, user mean, logistic regression) are listed after the runs; --baseline takes them too.

Reads only the run folders: no data set, no model, no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.runs import (
    add_runs,
    add_sampling,
    baseline_of,
    bootstrap_options,
    check_options,
    emit_table,
    named_runs,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_arguments", "execute", "markdown"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs and the bootstrap."""
    add_runs(parser)
    add_sampling(parser)


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints a table of metrics, with a baseline one of differences, and which runs a trivial baseline beats.

    Raises:
        SettingError: An argument is invalid.
        DataError: A run cannot be read, or its rows differ from the baseline's.
    """
    from recbole_clickprompt.evaluation.baselines import baseline_tables, better_baselines
    from recbole_clickprompt.evaluation.comparison import compare_runs

    check_options(options, settings)
    runs = named_runs(options.runs)
    tables = {name: run.predictions(options.split) for name, run in runs.items()}
    trivial = baseline_tables(tables)
    baseline = baseline_of(runs, options.baseline, trivial)
    table = compare_runs({**tables, **trivial}, baseline=baseline, **bootstrap_options(options))
    valid = {name: run.predictions("valid") for name, run in runs.items()}
    text = "\n\n".join([markdown(table, confidence=options.confidence), *better_baselines(valid)])
    if sampled := [name for name, run in runs.items() if run.sampled_negatives]:
        text += f"\n\nThe negatives of {', '.join(sampled)} were sampled: these are no metrics on shown items."
    emit_table(table, text, out=options.out)


def markdown(table: pd.DataFrame, *, confidence: float = 0.95) -> str:
    """The result of ``compare_runs`` as one or two Markdown tables."""
    from recbole_clickprompt.evaluation.tables import interval_cell, markdown_table, number, percent

    level = f"[{100 * confidence:g} %]"
    compared = "relative_auc" in table
    header = ["run", "rows", f"AUC {level}", f"LogLoss {level}", "GAUC", "ECE", "predicted / observed"]
    rows = [
        [
            line["run"],
            f"{line['rows']:,}",
            interval_cell(line, "auc"),
            interval_cell(line, "logloss"),
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
    from recbole_clickprompt.evaluation.comparison import SEED_NOTE
    from recbole_clickprompt.evaluation.tables import interval_cell, markdown_table, number

    p = "p (bootstrap)"
    header = ["run minus baseline", f"AUC {level}", "p (DeLong)", p, f"LogLoss {level}", p]
    rows = []
    for line in table[table["logloss_difference"].notna()].to_dict("records"):
        auc, logloss = (interval_cell(line, f"{metric}_difference", "+.4f") for metric in ("auc", "logloss"))
        p_delong, p_auc, p_logloss = (
            number(line[key], ".3g") for key in ("p_delong", "p_bootstrap", "p_bootstrap_logloss")
        )
        rows.append([line["run"], auc, p_delong, p_auc, logloss, p_logloss])
    return f"{markdown_table(header, rows)}\n\n{SEED_NOTE}"

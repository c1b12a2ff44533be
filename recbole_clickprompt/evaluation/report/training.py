"""Sections about training and about the attention over prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd

from recbole_clickprompt.evaluation.report import figures
from recbole_clickprompt.evaluation.report.content import Panel, Section, Table
from recbole_clickprompt.evaluation.tables import number, prompt_columns

__all__ = ["attention_section", "learning_section"]

# Stage, column, title, axis, caption
_FINETUNING = (
    (
        "finetune",
        "valid_auc",
        "Finetuning: validation AUC",
        "AUC",
        "AUC on the validation rows, by which the epoch is selected.",
    ),
    (
        "finetune",
        "valid_logloss",
        "Finetuning: log loss",
        "nats",
        "On the validation rows; fainter and dotted: on the training rows.",
    ),
)
Curve: TypeAlias = tuple[str, str, str, str, str]
_SECOND = {"valid_logloss": "train_loss"}  # further column in the same figure


def learning_section(
    histories: Mapping[str, pd.DataFrame], curves: Sequence[Curve] = (), measures: Sequence[Curve] = ()
) -> Section:
    """Learning curves of all stages; runs that share the result of a stage have the same curve.

    Args:
        histories: The result of ``RunFolder.history`` by the run's name.
        curves: Curves of stages before finetuning: stage, column, title, axis and caption.
        measures: Metrics with one value per run, which are not shown here.
    """
    panels = []
    for stage, column, title, axis, caption in (
        *curves,
        *_undescribed(histories, (*curves, *measures)),
        *_FINETUNING,
    ):
        values = {name: _curve(history, stage, column) for name, history in histories.items()}
        if all(series.empty for series in values.values()):
            continue
        further = _SECOND.get(column)
        second = {n: _curve(h, stage, further) for n, h in histories.items()} if further else None
        panels.append(
            Panel(
                title,
                caption,
                figures.curves(values, axis=axis, second=second),
                keyed=True,
                table=_epochs(title, values, second),
            )
        )
    if not panels:
        panels = [Panel("No epochs", "These runs have no learning curves.", wide=True)]
    return Section("learning", "Learning curves", panels)


def attention_section(tables: Mapping[str, pd.DataFrame] | None) -> Section:
    """Heat maps of the attention over the prompts.

    Args:
        tables: Attention tables by the run's name; None if they were not requested.
    """
    if tables is None:
        how = "Computed by recbole-cp report --attention, for runs with a PLM; needs checkpoints and data set."
        return Section("attention", "Attention over the prompts", [Panel("Not computed", how, wide=True)])
    panels = []
    for name, table in tables.items():
        columns = prompt_columns(table)
        for row, lines in table.groupby("row", sort=False):
            user, item = lines["user"].iloc[0], lines["item"].iloc[0]
            shares = lines.set_index("field")[columns].set_axis(range(1, len(columns) + 1), axis=1)
            panels.append(
                Panel(
                    f"Test row {row}: user {user}, item {item}",
                    f"{name}. One field is masked per line. Cells are the shares of the prompts in the attention "
                    "from its tokens to all prompts, in the last layer, averaged over heads. A line sums to 1.",
                    figures.heat_map(shares, x_axis="prompt"),
                    table=Table(
                        "Shares of the prompts, and the share of all attention that goes to prompts.",
                        ["masked field", *(f"prompt {k}" for k in shares.columns), "to prompts"],
                        [
                            (line["field"], *(number(line[c]) for c in columns), number(line["on_prompts"]))
                            for line in lines.to_dict("records")
                        ],
                    ),
                )
            )
    return Section("attention", "Attention over the prompts", panels)


def _undescribed(histories: Mapping[str, pd.DataFrame], curves: Sequence[Curve]) -> list[Curve]:
    """Curves of metrics that no method describes, titled by their names in the history."""
    described = {(stage, column) for stage, column, *_ in curves}
    found = {
        (stage, column): None
        for history in histories.values()
        if "stage" in history
        for stage, lines in history.groupby("stage", sort=False)
        if stage != "finetune"
        for column in lines.dropna(axis=1, how="all").columns
        if column not in ("stage", "epoch") and (stage, column) not in described
    }
    return [
        (
            str(stage),
            str(column),
            f"{str(stage).title()}: {str(column).replace('_', ' ')}",
            "",
            "On training rows.",
        )
        for stage, column in found
    ]


def _curve(history: pd.DataFrame, stage: str, column: str) -> pd.Series:
    if column not in history:
        return pd.Series(dtype=float)
    return history[history["stage"] == stage].set_index("epoch")[column].dropna()


def _epochs(title: str, values: Mapping[str, pd.Series], second: Mapping[str, pd.Series] | None) -> Table:
    columns = dict(values)
    columns |= {f"{name}, training": series for name, series in (second or {}).items()}
    wide = pd.DataFrame({name: series for name, series in columns.items() if not series.empty}).sort_index()
    rows = [(str(int(epoch) + 1), *map(number, line)) for epoch, *line in wide.itertuples()]
    return Table(f"{title}, by epoch.", ["epoch", *wide.columns], rows)

"""What methods add to a report: their tables, and how the quality of a stage goes with that of the ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from recbole_clickprompt.evaluation.report import figures
from recbole_clickprompt.evaluation.report.content import Panel, Section, Table
from recbole_clickprompt.evaluation.report.training import Curve
from recbole_clickprompt.evaluation.run_folder import RunFolder
from recbole_clickprompt.evaluation.tables import number

__all__ = ["method_section"]


def method_section(
    runs: Mapping[str, RunFolder], aucs: Mapping[str, float], measures: Sequence[Curve] = ()
) -> Section | None:
    """Tables of the runs, and test AUC against measures of a stage.

    Args:
        runs: By name.
        aucs: Test AUC by the run's name.
        measures: Metrics of stages, described as learning curves; the value of a run is that of the last epoch
            that has one. A measure that only one run has is left out.

    Returns:
        None if there is nothing to show.
    """
    panels = []
    histories = {name: run.history() for name, run in runs.items()}
    for stage, column, title, axis, caption in measures:
        values = {name: _last(history, stage, column) for name, history in histories.items()}
        points = {name: (value, aucs[name]) for name, value in values.items() if value is not None}
        if len(points) < 2:
            continue
        rows = [(name, number(x), number(y)) for name, (x, y) in points.items()]
        panels.append(
            Panel(
                title,
                caption,
                figures.points(points, list(runs), x_axis=axis, y_axis="AUC"),
                keyed=True,
                table=Table(caption, ["run", axis, "AUC"], rows),
            )
        )
    for name, run in runs.items():
        panels += [
            Panel(
                f"{table.title}: {name}",
                table=Table(table.caption, table.header, table.rows, words=True),
                wide=True,
            )
            for table in run.tables()
        ]
    return Section("method", "Knowledge", panels) if panels else None


def _last(history: pd.DataFrame, stage: str, column: str) -> float | None:
    if column not in history:
        return None
    values = history.loc[history["stage"] == stage, column].dropna()
    return None if values.empty else float(values.iloc[-1])

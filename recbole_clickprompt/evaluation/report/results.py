"""Sections about results: metrics with intervals, long tail, cost, and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.comparison import SEED_NOTE, check_same_rows
from recbole_clickprompt.evaluation.costs import COST_HEADER, Costs, cost_cells
from recbole_clickprompt.evaluation.long_tail import by_tail, compare_subsets
from recbole_clickprompt.evaluation.metrics import calibration
from recbole_clickprompt.evaluation.report import figures
from recbole_clickprompt.evaluation.report.content import Panel, Section, Table
from recbole_clickprompt.evaluation.tables import interval_cell, number, percent

__all__ = ["calibration_section", "comparable", "cost_section", "results_section", "tail_section"]


def comparable(tables: Mapping[str, pd.DataFrame]) -> str:
    """Why runs cannot be compared, as they were tested on different rows; empty if they can."""
    try:
        check_same_rows(tables)
    except DataError as error:
        return str(error)
    return ""


def results_section(
    results: pd.DataFrame,
    trivial: pd.DataFrame,
    *,
    baseline: str,
    obstacle: str,
    beaten: Sequence[str],
    samples: int,
) -> Section:
    """Table and intervals of the test metrics.

    Args:
        results: The result of ``compare_runs``, indexed by run.
        trivial: The same for trivial baselines, such as a logistic regression, which are only in the table.
        baseline: The run that others are compared with.
        obstacle: Why runs cannot be compared, or empty.
        beaten: A sentence for each run that a trivial baseline beats.
        samples: Bootstrap draws.
    """
    compared = "p_delong" in results
    header = ["run", "AUC", "log loss", "GAUC", "ECE", "predicted / observed", "rows"]
    if compared:
        header[3:3] = ["relative AUC", "p"]
    rows = []
    for line in pd.concat([results, trivial]).to_dict("records"):
        cells = [
            line["run"],
            interval_cell(line, "auc"),
            interval_cell(line, "logloss"),
            number(line["gauc"]),
            number(line["ece"]),
            number(line["predicted_over_observed"], ".3f"),
            f"{line['rows']:,}",
        ]
        if compared:
            cells[3:3] = [percent(line["relative_auc"]), number(line["p_delong"], ".3g")]
        rows.append(cells)
    intervals = f"In brackets: 95 % intervals from {samples:,} bootstrap draws of the rows."
    against = f" Relative AUC and p (DeLong, two-sided, on AUC) are against {baseline}." if compared else ""
    notes = [*beaten, *([f"The runs cannot be compared: {obstacle}."] if obstacle else [])]
    if compared:
        notes.append(SEED_NOTE)
    panels = [
        Panel(
            "Test metrics",
            table=Table(f"Metrics on the test rows. {intervals}{against}", header, rows),
            notes=notes,
            wide=True,
        )
    ]
    for metric, name, better in (("auc", "AUC", "right"), ("logloss", "Log loss", "left")):
        points = {
            line["run"]: (line[metric], line[f"{metric}_low"], line[f"{metric}_high"])
            for line in results.to_dict("records")
        }
        panels.append(
            Panel(
                name,
                f"{name} on the test rows with its 95 % interval; further to the {better} is better.",
                figures.intervals(points, axis=name),
                keyed=True,
                table=_interval_table(f"{name} on the test rows.", points),
            )
        )
    return Section("results", "Results", panels)


def tail_section(
    tables: Mapping[str, pd.DataFrame], counts: pd.DataFrame, *, baseline: str, obstacle: str, samples: int
) -> Section:
    """AUC on subsets of the test rows, by the frequency of user and item in training.

    Args:
        tables: Predictions of the test rows by the run's name.
        counts: Number of training rows of each user and item.
        baseline: The run that others are compared with.
        obstacle: Why runs cannot be compared, or empty.
        samples: Bootstrap draws.
    """
    if obstacle:
        return Section(
            "tail", "Long tail", [Panel("Not comparable", f"The runs cannot be compared: {obstacle}.", wide=True)]
        )
    subsets = by_tail(tables[baseline], counts)
    lines = compare_subsets(tables, subsets, baseline=baseline, samples=samples)
    lines = lines[lines["rows"] > 0]
    measured = lines[lines["auc"].notna()]
    groups = list(dict.fromkeys(measured["subset"]))
    left_out = [name for name in subsets if name not in groups]
    rows = dict(zip(measured["subset"], measured["rows"], strict=True))
    points = {
        name: [
            tuple(lines_of_run.set_index("subset").loc[group, ["auc", "auc_low", "auc_high"]].astype(float))
            for group in groups
        ]
        for name, lines_of_run in measured.groupby("run", sort=False)
    }
    panel = Panel(
        "AUC by training frequency",
        "AUC of test rows whose user or item is in the tail (the tenth with the fewest training rows), in the "
        "head (the others) or unseen. Whiskers are 95 % intervals; the axis may start above 0.",
        figures.bars(points, [_label(group, rows[group]) for group in groups], axis="AUC"),
        keyed=True,
        table=_tail_table(lines),
        notes=[f"Subsets without an AUC, as they lack rows of a class: {'; '.join(left_out)}."]
        if left_out
        else [],
        wide=True,
    )
    return Section("tail", "Long tail", [panel])


def _tail_table(lines: pd.DataFrame) -> Table:
    rows = [
        (
            line["subset"], line["run"], f"{line['rows']:,}", f"{line['users']:,}", f"{line['items']:,}",
            interval_cell(line, "auc"), interval_cell(line, "logloss"), line["note"],
        )
        for line in lines.to_dict("records")
    ]  # fmt: skip
    header = ["subset", "run", "rows", "users", "items", "AUC", "log loss", "note"]
    return Table("Test rows by the frequency of their user and item in training.", header, rows)


def calibration_section(tables: Mapping[str, pd.DataFrame]) -> Section:
    """Reliability diagram and distribution of the test scores."""
    bins = {name: calibration(table["label"], table["score"]) for name, table in tables.items()}
    rows = [
        (name, f"{line['low']:.2f} to {line['high']:.2f}", f"{line['rows']:,.0f}", *(
            number(line[column]) for column in ("predicted", "observed")
        ))
        for name, table in bins.items()
        for line in table.to_dict("records")
    ]  # fmt: skip
    panel = Panel(
        "Reliability diagram",
        "Share of clicks against the mean score, in 15 bins of scores. On the dashed line scores are calibrated; "
        "below it they are too high. Larger markers stand for more rows.",
        figures.reliability(bins),
        keyed=True,
        table=Table("Bins of the test scores.", ["run", "scores", "rows", "mean score", "share of clicks"], rows),
    )
    spread = Panel("Scores", "Share of the test rows in each of these bins.", figures.spread(bins), keyed=True)
    return Section("calibration", "Calibration", [panel, spread])


def cost_section(
    results: pd.DataFrame, latency: pd.DataFrame | None, *, note: str, costs: Mapping[str, Costs]
) -> Section:
    """AUC against the prediction time of a batch, and a table of costs if any are known.

    Args:
        results: The result of ``compare_runs``, indexed by run.
        latency: The result of ``summarize_times`` for some or all runs; None takes the times of ``costs``.
        note: Hardware and sizes of the measurement.
        costs: Of runs that a grid has measured, by name.
    """
    title = "AUC against latency"
    further = [Panel("Costs", table=_cost_table(costs), wide=True)] if costs else []
    if latency is None and costs:
        times = [(name, run.warm_ms, run.warm_p95_ms) for name, run in costs.items()]
        latency = pd.DataFrame(times, columns=["run", "median_ms", "p95_ms"])
        note = "; ".join(dict.fromkeys(f"{run.how}, measured by recbole-cp grid" for run in costs.values()))
    if latency is None:
        how = (
            "Computed by recbole-cp report --latency, which needs the checkpoints and their data set, or by a "
            "grid with costs."
        )
        return Section("cost", title, [Panel("Not measured", how, wide=True)])
    lines = latency.set_index("run").reindex(results.index)
    timed = lines.dropna(subset=["median_ms"])
    points = {
        name: (ms, *results.loc[name, ["auc", "auc_low", "auc_high"]].astype(float))
        for name, ms in lines["median_ms"].items()
    }
    panel = Panel(
        title,
        "Test AUC with its 95 % interval against the median time of a batch, on a logarithmic axis. Higher and "
        "further to the left is better.",
        figures.scatter(points, x_axis="ms per batch", y_axis="AUC"),
        keyed=True,
        shown=list(map(str, timed.index)),
    )
    rows = [
        (str(name), number(line["median_ms"], ".3f"), number(line["p95_ms"], ".3f"))
        for name, line in timed.iterrows()
    ]
    table = Table(f"Milliseconds per batch: {note}.", ["run", "median", "95th percentile"], rows)
    return Section("cost", title, [panel, Panel("Time of a batch", table=table), *further])


def _cost_table(costs: Mapping[str, Costs]) -> Table:
    rows = [cost_cells(name, run) for name, run in costs.items()]
    return Table("Costs of the runs that recbole-cp grid has measured.", COST_HEADER, rows)


def _interval_table(caption: str, points: Mapping[str, tuple[float, float, float]]) -> Table:
    rows = [(name, *map(number, values)) for name, values in points.items()]
    return Table(caption, ["run", "value", "95 % from", "to"], rows)


def _label(group: str, rows: int) -> str:
    # Broken into short lines, to leave space for the bars
    return f"{group},\n{rows:,} rows".replace(", ", ",\n")

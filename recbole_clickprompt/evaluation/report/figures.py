"""The figures of a report: ``data`` and ``layout`` for plotly.js."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from recbole_clickprompt.evaluation.data_report import time_text
from recbole_clickprompt.evaluation.report import style

__all__ = [
    "bars", "columns", "curves", "heat_map", "intervals", "over_time", "points", "reliability", "scatter",
    "spread",
]  # fmt: skip

_FULL = "%{fullData.name}"
_LONGEST_TICK = 20  # characters that fit on the screen of a phone


def curves(
    runs: Mapping[str, pd.Series], *, axis: str, second: Mapping[str, pd.Series] | None = None
) -> dict[str, Any]:
    """A line per run over epochs, which are shown from 1.

    Args:
        runs: Values by the run's name, indexed by epoch from 0; an empty series reserves the color of the run.
        axis: Title of the y-axis.
        second: Further values, drawn as fainter dotted lines.
    """
    figure = style.new_figure()
    for number, (name, values) in enumerate(runs.items()):
        for faint, series in ((True, (second or {}).get(name)), (False, values)):
            if series is None or series.empty:
                continue
            line = style.line(number, dash="dot", width=1.5) if faint else style.line(number)
            marker = style.marker(number, 6, opacity=0.45 if faint else 1.0)
            figure.add_scatter(
                x=[int(epoch) + 1 for epoch in series.index], y=series.tolist(), name=style.plain(name),
                mode="lines+markers", line=line, marker=marker, opacity=0.6 if faint else 1.0,
                hovertemplate=f"epoch %{{x}}: %{{y:.4f}}<extra>{_FULL}</extra>",
            )  # fmt: skip
    longest = max((int(v.index.max()) + 1 for v in runs.values() if not v.empty), default=1)
    figure.update_xaxes(
        title="epoch", range=[0.5, longest + 0.5], tickformat="d", dtick=1 if longest <= 10 else None
    )
    figure.update_yaxes(title=axis)
    return style.finished(figure, height=260)


def intervals(runs: Mapping[str, tuple[float, float, float]], *, axis: str) -> dict[str, Any]:
    """A point per run with its confidence interval (value, low, high), one below the other."""
    figure = style.new_figure()
    for number, (name, (value, low, high)) in enumerate(runs.items()):
        figure.add_scatter(
            x=[value], y=[number], name=style.plain(name), mode="markers", marker=style.marker(number, 11),
            error_x=style.whiskers(number, value, low, high, thickness=2),
            hovertemplate=f"%{{x:.4f}} ({low:.4f} to {high:.4f})<extra>{_FULL}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title=axis)
    figure.update_yaxes(visible=False, range=[len(runs) - 0.4, -0.6])
    return style.finished(figure, height=90 + 34 * len(runs))


def bars(
    runs: Mapping[str, Sequence[tuple[float, float, float]]], groups: Sequence[str], *, axis: str
) -> dict[str, Any]:
    """Horizontal bars with confidence intervals (value, low, high), in groups one below the other.

    The axis may start above 0, to make differences visible.
    """
    figure, lines = style.new_figure(), [style.plain(group).replace("\n", "<br>") for group in groups]
    for number, (name, points) in enumerate(runs.items()):
        table = pd.DataFrame(points, columns=["value", "low", "high"])
        figure.add_bar(
            y=lines, x=table["value"].tolist(), name=style.plain(name), orientation="h",
            marker={"color": style.color(number), "pattern": {"shape": style.pattern(number)}},
            error_x={
                "array": (table["high"] - table["value"]).tolist(),
                "arrayminus": (table["value"] - table["low"]).tolist(),
                "color": "var(--text)", "thickness": 1.2, "width": 3,
            },
            customdata=table[["low", "high"]].to_numpy().tolist(),
            hovertemplate="%{y}: %{x:.4f} (%{customdata[0]:.4f} to %{customdata[1]:.4f})"
            f"<extra>{_FULL}</extra>",
        )  # fmt: skip
    limits = pd.DataFrame([point for points in runs.values() for point in points], columns=["v", "low", "high"])
    low, high = limits[["v", "low"]].min(axis=None), limits[["v", "high"]].max(axis=None)
    if pd.notna(low):
        space = 0.15 * (high - low) or 0.01
        figure.update_xaxes(range=[max(0.0, low - space), high + space / 3])
    figure.update_xaxes(title=axis)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(barmode="group", bargap=0.3, bargroupgap=0.1)
    return style.finished(figure, height=70 + len(groups) * max(60, 26 + 16 * len(runs)))


def scatter(runs: Mapping[str, tuple[float, float, float, float]], *, x_axis: str, y_axis: str) -> dict[str, Any]:
    """A point (x, y, low y, high y) per run with known x, on a logarithmic x-axis."""
    figure = style.new_figure()
    for number, (name, (x, y, low, high)) in enumerate(runs.items()):
        if math.isnan(x):
            continue
        figure.add_scatter(
            x=[x], y=[y], name=style.plain(name), mode="markers", marker=style.marker(number, 13),
            error_y=style.whiskers(number, y, low, high, thickness=1.5),
            hovertemplate=f"%{{x:.3g}} ms, %{{y:.4f}}<extra>{_FULL}</extra>",
        )  # fmt: skip
    xs = [point[0] for point in runs.values() if not math.isnan(point[0])]
    digits = (1, 2, 5) if max(xs) < 30 * min(xs) else (1,)
    ticks = [digit * 10.0**power for power in range(-4, 6) for digit in digits]
    figure.update_xaxes(title=x_axis, type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    figure.update_xaxes(range=[math.log10(min(xs) / 2), math.log10(2 * max(xs))])
    figure.update_yaxes(title=y_axis)
    return style.finished(figure, height=320)


def points(
    values: Mapping[str, tuple[float, float]], runs: Sequence[str], *, x_axis: str, y_axis: str
) -> dict[str, Any]:
    """A point (x, y) per run; ``runs`` are all runs of the page, whose order determines colors."""
    figure = style.new_figure()
    for name, (x, y) in values.items():
        figure.add_scatter(
            x=[x], y=[y], name=style.plain(name), mode="markers", marker=style.marker(list(runs).index(name), 11),
            hovertemplate=f"%{{x:.4f}}, %{{y:.4f}}<extra>{_FULL}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title=x_axis)
    figure.update_yaxes(title=y_axis)
    return style.finished(figure, height=320)


def reliability(runs: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Observed against predicted click rate; columns ``predicted``, ``observed`` and ``rows``, one line per bin.

    Larger markers stand for more rows.
    """
    figure = style.new_figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="calibrated", hoverinfo="skip",
        line={"color": "var(--muted)", "dash": "dash", "width": 1},
    )  # fmt: skip
    for number, (name, table) in enumerate(runs.items()):
        sizes = 5 + 14 * (table["rows"] / table["rows"].max()) ** 0.5
        figure.add_scatter(
            x=table["predicted"].tolist(), y=table["observed"].tolist(), name=style.plain(name),
            mode="lines+markers", line=style.line(number, width=1.5), marker=style.marker(number, sizes.tolist()),
            customdata=table["rows"].tolist(),
            hovertemplate=f"predicted %{{x:.3f}}, observed %{{y:.3f}}, %{{customdata}} rows<extra>{_FULL}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="predicted click rate", range=[-0.02, 1.02], dtick=0.2)
    figure.update_yaxes(title="observed click rate", range=[-0.02, 1.02], dtick=0.2)
    return style.finished(figure, height=380)


def spread(runs: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Share of rows by score; columns ``low``, ``high`` and ``rows``, one line per bin."""
    figure = style.new_figure()
    for number, (name, table) in enumerate(runs.items()):
        figure.add_scatter(
            x=((table["low"] + table["high"]) / 2).tolist(), y=(table["rows"] / table["rows"].sum()).tolist(),
            name=style.plain(name), mode="lines+markers", line=style.line(number), marker=style.marker(number, 7),
            hovertemplate=f"scores around %{{x:.2f}}: %{{y:.1%}} of rows<extra>{_FULL}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="score", range=[-0.02, 1.02], dtick=0.2)
    figure.update_yaxes(title="share of rows", rangemode="tozero", tickformat=".0%")
    return style.finished(figure, height=380)


def over_time(series: Mapping[str, pd.Series], *, axis: str) -> dict[str, Any]:
    """A line per part of a data set, indexed by time."""
    figure = style.new_figure()
    for number, (name, values) in enumerate(series.items()):
        figure.add_scatter(
            x=[time_text(time) for time in values.index], y=values.tolist(), name=style.plain(name),
            mode="lines+markers", line=style.line(number), marker=style.marker(number, 6),
            hovertemplate=f"from %{{x}}: %{{y:.4~g}}<extra>{_FULL}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="time")
    figure.update_yaxes(title=axis, rangemode="tozero")
    return style.finished(figure, height=260)


def columns(series: Mapping[str, Sequence[float]], groups: Sequence[str], *, axis: str) -> dict[str, Any]:
    """Vertical bars from 0, one per series in each group."""
    figure = style.new_figure()
    for number, (name, values) in enumerate(series.items()):
        figure.add_bar(
            x=list(map(style.plain, groups)), y=list(values), name=style.plain(name),
            marker={"color": style.color(number), "pattern": {"shape": style.pattern(number)}},
            hovertemplate=f"%{{x}}: %{{y:.4~g}}<extra>{_FULL}</extra>",
        )  # fmt: skip
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(title=axis)
    figure.update_layout(barmode="group", bargap=0.3)
    return style.finished(figure, height=260)


def heat_map(table: pd.DataFrame, *, x_axis: str) -> dict[str, Any]:
    """A heat map of shares from 0 to 1, with the value in each cell."""
    figure = style.new_figure()
    shares = table.to_numpy(dtype=float)
    figure.add_heatmap(
        x=[str(name) for name in table.columns], y=list(range(len(table))),
        text=[[style.plain(name)] * table.shape[1] for name in table.index], z=shares.tolist(),
        zmin=0.0, zmax=float(shares.max()),
        colorscale=[[0, "var(--scale-low)"], [1, "var(--scale-high)"]], showscale=False, xgap=2, ygap=2,
        texttemplate="%{z:.2f}", textfont={"color": "var(--text)"},
        hovertemplate="%{text}, prompt %{x}: %{z:.4f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title=x_axis, type="category", showgrid=False)
    shown = [name if len(name) <= _LONGEST_TICK else f"{name[: _LONGEST_TICK - 1]}…" for name in table.index]
    figure.update_yaxes(tickvals=list(range(len(table))), ticktext=list(map(style.plain, shown)))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return style.finished(figure, height=80 + 27 * len(table))

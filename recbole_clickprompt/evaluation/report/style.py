"""The style of the figures of a report.

Colors are CSS variables, which the page resolves, so figures follow its light or dark theme. A run has the same
color, marker and dash in every figure.
"""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "color", "finished", "line", "marker", "new_figure", "pattern", "plain", "symbol", "whiskers",
]  # fmt: skip

_COLORS = [f"var(--series-{number})" for number in range(1, 7)]
_SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star"]
# These distinguish runs whose color repeats
_DASHES = ["solid", "dash", "dot", "dashdot"]
_PATTERNS = ["", "/", "x", "."]


def new_figure() -> go.Figure:
    """An empty figure."""
    # Imported late: plotly is slow to import
    import plotly.graph_objects as go

    return go.Figure()


def finished(figure: go.Figure, *, height: int) -> dict[str, Any]:
    """The figure as plain data for plotly.js, ``height`` pixels high, of any width."""
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "var(--text)"},
        hoverlabel={"bgcolor": "var(--surface)", "bordercolor": "var(--line)", "font": {"color": "var(--text)"}},
        showlegend=False,  # the page has a legend
        dragmode=False,  # touching a figure scrolls the page
    )
    axis = {
        "automargin": True,
        "fixedrange": True,
        "gridcolor": "var(--grid)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "title_standoff": 8,
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return json.loads(figure.to_json())


def color(number: int) -> str:
    """The color of a run, by its number from 0."""
    return _COLORS[number % len(_COLORS)]


def line(number: int, **changes: Any) -> dict[str, Any]:
    """The line of a run; ``changes`` override its properties."""
    return {"color": color(number), "width": 2, "dash": _by_repetition(number, _DASHES), **changes}


def marker(number: int, size: int | list[float], **changes: Any) -> dict[str, Any]:
    """The marker of a run, with one size or one per point; ``changes`` override its properties."""
    return {"color": color(number), "size": size, "symbol": symbol(number), **changes}


def symbol(number: int) -> str:
    """The shape of a run's marker: where colors repeat, shapes are shifted, so 36 runs differ."""
    return _SYMBOLS[(number + number // len(_COLORS)) % len(_SYMBOLS)]


def pattern(number: int) -> str:
    """The fill pattern of a run's bars."""
    return _by_repetition(number, _PATTERNS)


def _by_repetition(number: int, values: list[str]) -> str:
    return values[number // len(_COLORS) % len(values)]


def whiskers(number: int, value: float, low: float, high: float, *, thickness: float) -> dict[str, Any]:
    """The error bar of a run's point."""
    lengths = {"array": [high - value], "arrayminus": [value - low]}
    return {**lengths, "color": color(number), "thickness": thickness}


def plain(text: str) -> str:
    """Text with HTML escaped, because plotly interprets some tags."""
    return html.escape(text, quote=False)

"""How the figures of a report look.

Colours are CSS variables, which the page resolves: so figures are light or dark as the page is. A run has the same
colour, marker and dash in every figure.
"""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "COLOURS", "SYMBOLS", "colour", "finished", "line", "marker", "new_figure", "pattern", "plain", "whiskers",
]  # fmt: skip

COLOURS = [f"var(--series-{number})" for number in range(1, 7)]
SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star"]
# Where a run's colour comes again, these tell it from the first one
_DASHES = ["solid", "dash", "dot", "dashdot"]
_PATTERNS = ["", "/", "x", "."]


def new_figure() -> go.Figure:
    """A figure without anything; plotly is imported here, where it is needed."""
    import plotly.graph_objects as go

    return go.Figure()


def finished(figure: go.Figure, *, height: int) -> dict[str, Any]:
    """The figure as plain data, ``height`` pixels high, for any width."""
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "var(--text)"},
        hoverlabel={"bgcolor": "var(--surface)", "bordercolor": "var(--line)", "font": {"color": "var(--text)"}},
        showlegend=False,  # the page has the key
        dragmode=False,  # a finger on a figure scrolls the page
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


def colour(number: int) -> str:
    """Of the run of that number, from 0."""
    return COLOURS[number % len(COLOURS)]


def line(number: int, **changes: Any) -> dict[str, Any]:
    """Of a run, but for what is changed."""
    return {"color": colour(number), "width": 2, "dash": _again(number, _DASHES), **changes}


def marker(number: int, size: int | list[float], **changes: Any) -> dict[str, Any]:
    """Of a run, of one size or of one a point, with what is added."""
    return {"color": colour(number), "size": size, "symbol": SYMBOLS[number % len(SYMBOLS)], **changes}


def pattern(number: int) -> str:
    """Of a run's bars."""
    return _again(number, _PATTERNS)


def _again(number: int, kinds: list[str]) -> str:
    return kinds[number // len(COLOURS) % len(kinds)]


def whiskers(number: int, value: float, low: float, high: float, *, thickness: float) -> dict[str, Any]:
    """Of a run's point: its interval."""
    ends = {"array": [high - value], "arrayminus": [value - low]}
    return {**ends, "color": colour(number), "thickness": thickness}


def plain(text: str) -> str:
    """Text as plotly shows it: it reads some tags, so those that are meant as they stand are escaped."""
    return html.escape(text, quote=False)

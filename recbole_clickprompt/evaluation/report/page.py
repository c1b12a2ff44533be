"""Renders sections as one HTML page that works offline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from recbole_clickprompt.evaluation.report import style
from recbole_clickprompt.evaluation.report.content import Section

__all__ = ["render"]

# The shapes of plotly's markers, in a 16 by 16 view box
_SHAPES = {
    "circle": '<circle cx="8" cy="8" r="6"/>',
    "square": '<rect x="3" y="3" width="10" height="10"/>',
    "diamond": '<path d="M8 1l7 7-7 7-7-7z"/>',
    "triangle-up": '<path d="M8 2l7 12H1z"/>',
    "cross": '<path d="M6 2h4v4h4v4h-4v4H6v-4H2V6h4z"/>',
    "star": '<path d="M8 1l2 5h5l-4 3.500 1.500 5.500-4.500-3.200L3.500 15 5 9.500 1 6h5z"/>',
}


class _Mark(NamedTuple):
    name: str
    svg: str


def render(*, title: str, lead: str, runs: Sequence[str], sections: Sequence[Section], footer: str) -> str:
    """Renders the page.

    All text is escaped. The content security policy of the page forbids connections, and all scripts except its
    own two.

    Args:
        title: Heading of the page.
        lead: Line below the heading.
        runs: Names of the runs, in the order of their colors.
        sections: Content of the page.
        footer: Last line.
    """
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    folder = files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    scripts = {"plotly": get_plotlyjs(), "draw": (folder / "draw.js").read_text(encoding="utf-8")}
    return environment.from_string((folder / "page.html").read_text(encoding="utf-8")).render(
        title=title,
        lead=lead,
        sections=sections,
        footer=footer,
        key=[_Mark(name, _marker(number)) for number, name in enumerate(runs)],
        style=(folder / "style.css").read_text(encoding="utf-8"),
        hashes=" ".join(map(_hash, scripts.values())),
        **scripts,
    )


def _marker(number: int) -> str:
    shape = _SHAPES[style.symbol(number)]
    return f'<svg viewBox="0 0 16 16" aria-hidden="true" style="fill: {style.color(number)}">{shape}</svg>'


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"

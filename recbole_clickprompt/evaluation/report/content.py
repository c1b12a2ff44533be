"""The structure of a page: sections of panels, each with a figure, a table or notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Panel", "Section", "Table"]


@dataclass(frozen=True)
class Table:
    """A table of formatted cells; the first column is the header of its row.

    Attributes:
        caption: Describes the content.
        header: Title of each column.
        rows: Cells of each row, one per column.
        words: Cells are words, which are aligned to the left; numbers are aligned to the right.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True)
class Panel:
    """A figure with its numbers, or a table or note.

    Attributes:
        title: Heading.
        caption: Describes the figure.
        figure: ``data`` and ``layout`` for plotly.js.
        keyed: The figure distinguishes runs, so the legend is shown above it.
        shown: Runs of the legend, if not all.
        table: The numbers; collapsed below a figure.
        notes: Further text, such as how to compute a missing figure.
        commands: Pairs of a run's name and its command.
        wide: The panel takes the full width.
    """

    title: str
    caption: str = ""
    figure: dict[str, Any] | None = None
    keyed: bool = False
    shown: Sequence[str] | None = None
    table: Table | None = None
    notes: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Panels under one heading.

    Attributes:
        name: Anchor of the section.
        title: Heading.
        panels: Its panels, in order.
        folded: Tables that are collapsed below the panels.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    folded: Sequence[Table] = field(default_factory=tuple)

"""What a page is made of: sections of panels, each a figure, a table or a note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Panel", "Section", "Table"]


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first column names its row.

    Attributes:
        caption: What is in it.
        header: Of each column.
        rows: A text for each column.
        words: The cells are words, aligned to the left, and not numbers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True)
class Panel:
    """A figure with its numbers, or what stands in its place.

    Attributes:
        title: What it is about.
        caption: What is seen.
        figure: As plotly.js takes it: ``data`` and ``layout``.
        keyed: The figure tells runs apart, so the key of the runs stands above it.
        table: Its numbers; folded away below a figure.
        notes: What else has to be said, such as how to get a figure that is missing.
        commands: Shown in the order given, each below the name of its run.
        wide: It takes the whole width.
    """

    title: str
    caption: str = ""
    figure: dict[str, Any] | None = None
    keyed: bool = False
    table: Table | None = None
    notes: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Panels under one heading; ``name`` is its anchor."""

    name: str
    title: str
    panels: Sequence[Panel]
    folded: Sequence[Table] = field(default_factory=tuple)

"""The numbers of a split data set, and their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pandas as pd

__all__ = ["DataReport", "FieldNumbers", "PartNumbers", "data_text", "share_text", "time_text"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECONDS = (1e8, 1e11)  # times in this range, 1973 to 5138, are shown as dates


@dataclass(frozen=True)
class PartNumbers:
    """Numbers of one part of the split.

    Attributes:
        rows: Its rows.
        users: Different users in them.
        items: Different items.
        positive: Rows with label 1.
        times: First and last time; None without a time field.
        unseen_users: Rows whose user is in no training row.
        unseen_items: Rows whose item is in no training row.
    """

    rows: int
    users: int
    items: int
    positive: int
    times: tuple[float, float] | None
    unseen_users: int
    unseen_items: int


@dataclass(frozen=True)
class FieldNumbers:
    """Numbers of one field.

    Attributes:
        values: Different values as read, without the missing one; None for a number field.
        trained: Those of them that are in training rows.
        missing: Rows without a value, by part.
    """

    values: int | None
    trained: int | None
    missing: Mapping[str, int]


@dataclass(frozen=True)
class DataReport:
    """Numbers of a data set after filters and split.

    Attributes:
        dataset: Its name.
        parts: By name, training rows first.
        fields: By name, in the order of the files.
        dropped: Number of dropped rows by the setting that dropped them, with its value.
        advice: Sentences about settings that suit these numbers.
        timeline: Columns ``part``, ``time`` (start of an interval), ``rows``, ``positive``; empty without times.
        frequency: Columns ``kind`` (user or item), ``from`` and ``to`` (training rows), ``count``.
        capacity: By share of the training rows, the number of most frequent items that they are about.
    """

    dataset: str
    parts: Mapping[str, PartNumbers]
    fields: Mapping[str, FieldNumbers]
    dropped: Mapping[str, int]
    advice: Sequence[str]
    timeline: pd.DataFrame
    frequency: pd.DataFrame
    capacity: Mapping[float, int]

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts.values())


def data_text(report: DataReport) -> str:
    """The report as about ten lines of text."""
    header = ["part", "rows", "users", "items", "label 1", "rows of unseen users", "of unseen items", "time"]
    cells = [
        header,
        *(
            [
                name,
                f"{part.rows:,}",
                f"{part.users:,}",
                f"{part.items:,}",
                f"{100 * part.positive / part.rows:.1f} %",
                share_text(part.unseen_users, part.rows),
                share_text(part.unseen_items, part.rows),
                " to ".join(map(time_text, part.times)) if part.times else "none",
            ]
            for name, part in report.parts.items()
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        [
            f"data set {report.dataset}: {report.rows:,} rows",
            *("  ".join(_aligned(line, widths)).rstrip() for line in cells),
            f"dropped: {_dropped(report)}",
            f"missing values: {_missing(report)}",
            f"values (in training rows): {_vocabulary(report)}",
            f"most frequent items (for the size of a cache): {_capacity(report)}",
            *(f"advice: {sentence}" for sentence in report.advice),
        ]
    )


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *numbers, last = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in numbers), last[0]]


def _dropped(report: DataReport) -> str:
    total = report.rows + sum(report.dropped.values())
    return "; ".join(f"{rows:,} of {total:,} rows by {why}" for why, rows in report.dropped.items()) or "no rows"


def _missing(report: DataReport) -> str:
    found = {name: field.missing for name, field in report.fields.items() if any(field.missing.values())}
    texts = (
        f"{name} in {', '.join(f'{rows:,} {part}' for part, rows in missing.items() if rows)} rows"
        for name, missing in found.items()
    )
    return "; ".join(texts) or "none"


def _vocabulary(report: DataReport) -> str:
    return ", ".join(
        f"{name} {field.values:,}" + ("" if field.trained == field.values else f" ({field.trained:,})")
        for name, field in report.fields.items()
        if field.values is not None
    )


def _capacity(report: DataReport) -> str:
    parts = (f"{items:,} are in {share:.0%}".replace("%", " %") for share, items in report.capacity.items())
    return f"{', '.join(parts)} of the training rows"


def share_text(count: int, rows: int) -> str:
    """A number of rows with its share, such as ``6,210 (85.2 %)``; ``0`` for none."""
    if not count:
        return "0"
    share = 100 * count / rows
    return f"{count:,} ({share:.1f} %)" if share >= 0.1 else f"{count:,} (< 0.1 %)"


def time_text(time: float) -> str:
    """A time in seconds since 1970 as date and time (UTC); a number if it cannot be that."""
    if _SECONDS[0] <= time <= _SECONDS[1]:
        return f"{_EPOCH + timedelta(seconds=time):%Y-%m-%d %H:%M}"
    return f"{time:g}"

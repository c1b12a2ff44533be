"""Rows that are left out: those without a label or a time, and those with labels that the user names."""

from __future__ import annotations

import polars as pl

from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError

__all__ = ["DroppedLabels", "MissingRows"]


class MissingRows:
    """Rows without a label or without a time, batch by batch.

    Args:
        column: Name of the column.
        what: What its values are, for messages.
    """

    def __init__(self, column: str, what: str) -> None:
        self._column, self._what = column, what
        self._rows = self._missing = 0
        self._place = ""

    def add(self, table: TextTable, is_missing: pl.Series, rows: pl.Series | None) -> pl.Series:
        """Adds those of ``rows``, or of all; returns the rows that are left."""
        if rows is not None:
            is_missing = is_missing & rows
        number = int(is_missing.sum())
        if number and not self._missing:
            self._place = table.place(int(is_missing.arg_true()[0]), self._column)
        self._missing += number
        self._rows += len(is_missing) if rows is None else int(rows.sum())
        return ~is_missing if rows is None else rows & ~is_missing

    def check(self, file: str, drop: bool) -> list[str]:
        """A note on the rows that are dropped. Raises DataError if all are, or they should not be dropped."""
        if not self._missing:
            return []
        if self._missing == self._rows:
            raise DataError(f"{file}, column {self._column}: no row has a {self._what}")
        number = f"{self._missing:,} of {self._rows:,}"
        if not drop:
            raise DataError(
                f"{self._place}: the {self._what} is missing, as in {number} rows; fill them in, or leave such "
                "rows out with --drop-missing"
            )
        return [f"{self._column}: rows without a {self._what} were dropped, {number}"]


class DroppedLabels:
    """Rows that are left out because of their label, batch by batch.

    Args:
        column: Name of the column of labels.
        labels: The labels of such rows.
    """

    def __init__(self, column: str, labels: tuple[float, ...]) -> None:
        self._column, self._counts, self._rows = column, dict.fromkeys(labels, 0), 0

    def add(self, labels: pl.Series) -> pl.Series:
        """Adds a batch; returns its labels, None for the rows that are left out."""
        self._rows += labels.len() - labels.null_count()
        for label in self._counts:
            self._counts[label] += int((labels == label).sum())
        return pl.select(pl.when(~labels.is_in([*self._counts])).then(labels)).to_series().rename(labels.name)

    def notes(self, file: str) -> list[str]:
        """How many rows are left out. Raises DataError if all are, or none has one of the labels."""
        for label, number in self._counts.items():
            if not number:
                raise DataError(
                    f"{file}, column {self._column}: no row has the label {number_text(label)} of --drop-labels"
                )
        dropped = sum(self._counts.values())
        if dropped and dropped == self._rows:
            raise DataError(f"{file}, column {self._column}: --drop-labels leaves no row")
        shown = " or ".join(map(number_text, self._counts))
        return (
            [f"{self._column}: rows with {shown} were dropped, {dropped:,} of {self._rows:,}"] if dropped else []
        )

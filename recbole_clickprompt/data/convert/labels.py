"""Labels of a user's table: 0 and 1, or ratings that are positive from a threshold on."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.table import Faults, TextTable
from recbole_clickprompt.data.convert.typed import column_numbers
from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError, SettingError

__all__ = ["LabelColumn", "LabelCounts", "find_threshold"]

_SHOWN = 8  # values in a message
_MOST_VALUES = 1 << 20  # different labels that are counted one by one


class LabelColumn:
    """Labels or ratings, batch by batch.

    Args:
        column: Name of the column.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._invalid = Faults(column, "is no number; a label is 0 or 1, true or false, or a rating")
        self._infinite = Faults(column, "is infinite, which is no label")

    def read(self, table: TextTable) -> pl.Series:
        """Those of a batch as float64, None where one is missing; true and false are 1 and 0.

        Raises:
            DataError: The column has neither texts nor numbers.
        """
        values = table.frame[self._column]
        if values.dtype == pl.String:
            values = values.str.strip_chars().str.to_lowercase().replace({"true": "1", "false": "0"})
        elif not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
            raise DataError(f"{table.file}, column {self._column}: a label must be a number, got {values.dtype}")
        numbers = column_numbers(values)
        self._invalid.add(table, numbers.invalid)
        self._infinite.add(table, numbers.infinite)
        return numbers.values

    def check(self) -> None:
        """Raises DataError where one is no number, or infinite."""
        self._invalid.check()
        self._infinite.check()


class LabelCounts:
    """Counts each label, batch by batch.

    Args:
        threshold: The label from which on a row is positive; None if the user gave none.

    Attributes:
        rows: Number of labels.
    """

    def __init__(self, threshold: float | None = None) -> None:
        self.rows = 0
        self._threshold = threshold
        self._positive = 0  # counted here if there is a threshold
        self._values, self._counts = np.empty(0), np.empty(0, np.int64)
        self._has_more = False  # different labels than are counted one by one

    def add(self, labels: pl.Series) -> None:
        """Adds a batch, ``(rows,)`` float64, none of them missing."""
        numbers = labels.to_numpy()
        self.rows += len(numbers)
        if self._threshold is not None:
            self._positive += int((numbers >= self._threshold).sum())
        values, counts = np.unique(numbers, return_counts=True)
        merged, places = np.unique(np.concatenate([self._values, values]), return_inverse=True)
        if len(merged) > _MOST_VALUES:
            # the largest and the smallest one stay correct; for the others there is an error or a threshold
            self._has_more = True
            merged[_MOST_VALUES - 1] = merged[-1]
            places = places.clip(max=_MOST_VALUES - 1)
            merged = merged[:_MOST_VALUES]
        weights = np.concatenate([self._counts, counts])
        self._values = merged
        self._counts = np.bincount(places, weights, len(merged)).astype(np.int64)

    def values(self) -> list[float]:
        """The different labels, ascending; the first million of them and the last one if there are more."""
        return self._values.tolist()

    def positive(self, least: float) -> int:
        """Number of labels of at least ``least``."""
        if self._threshold is not None and least == self._threshold:
            return self._positive
        return int(self._counts[self._values >= least].sum())

    def shown(self) -> str:
        """The labels for a message, or their range."""
        found = self.values()
        if len(found) > _SHOWN:
            number = f"more than {len(found)}" if self._has_more else len(found)
            return f"from {number_text(found[0])} to {number_text(found[-1])} ({number} different ones)"
        return ", ".join(number_text(value) for value in found)


def find_threshold(place: str, labels: LabelCounts, threshold: float | None) -> float | None:
    """The label from which on a row is positive; None where labels are 0 and 1.

    It is the user's threshold, else 4 of 5 stars.

    Labels are stars if they are whole or half numbers from 0.5 to 5, and both 5 and a number below 4 occur.

    Args:
        place: File and column of the labels, for messages.
        labels: All labels.
        threshold: Given by the user; None if there is none.

    Raises:
        DataError: Other ratings need a threshold, or all rows are on one side of it.
        SettingError: The threshold is not a finite number.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise SettingError(f"--threshold must be a finite number, got {threshold}")
    found = labels.values()
    if threshold is None and len(found) > 1 and found != [0, 1]:
        if not _are_stars(found):
            example = number_text(found[int(0.7 * len(found))])
            raise DataError(
                f"{place}: the values {labels.shown()} are no 0 and 1 and no 1 to 5 stars; say with --threshold "
                f"from which value on a row is positive, such as --threshold {example}"
            )
        threshold = 4.0
    least = 0.5 if threshold is None else threshold
    if found == [1] and threshold is None:
        raise DataError(
            f"{place}: all {labels.rows} rows are positive (1); add rows of what was shown and not clicked, with "
            "label 0, or leave out --label and let --sample-negatives sample items that were not clicked"
        )
    positive = labels.positive(least)
    if not 0 < positive < labels.rows:
        raise DataError(
            f"{place}: {positive} of {labels.rows} rows are positive, {number_text(least)} or more; both kinds "
            f"are needed, and the values are {labels.shown()}"
        )
    return threshold


def _are_stars(found: list[float]) -> bool:
    return found[-1] == 5 and 0.5 <= found[0] < 4 and all(float(2 * value).is_integer() for value in found)

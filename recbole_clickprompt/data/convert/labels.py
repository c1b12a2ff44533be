"""Labels of a user's own table: 0 and 1, or ratings with a threshold from which on a row is positive."""

from __future__ import annotations

import math

import polars as pl

from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.typed import column_numbers
from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError, SettingError

__all__ = ["find_threshold", "read_labels"]

_SHOWN = 8  # values in a message


def read_labels(table: TextTable, column: str) -> pl.Series:
    """Labels or ratings as float64, None where one is missing; true and false are 1 and 0.

    Raises:
        DataError: One is no number, or infinite.
    """
    values = table.frame[column]
    if values.dtype == pl.String:
        values = values.str.strip_chars().str.to_lowercase().replace({"true": "1", "false": "0"})
    elif not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        raise DataError(f"{table.file}, column {column}: a label must be a number, got {values.dtype}")
    numbers = column_numbers(values)
    table.refuse(column, numbers.invalid, "is no number; a label is 0 or 1, true or false, or a rating")
    table.refuse(column, numbers.infinite, "is infinite, which is no label")
    return numbers.values


def find_threshold(table: TextTable, column: str, labels: pl.Series, threshold: float | None) -> float | None:
    """From where on a row is positive: what the user said, else 4 of 5 stars; None where labels are 0 and 1.

    The values count as stars where they are whole or half ones from 0.5 to 5, with 5 and with some below 4.

    Args:
        table: Where the labels are from, for messages.
        column: The labels' name.
        labels: ``(rows,)``, none of them missing.
        threshold: What the user said.

    Raises:
        DataError: Other ratings want a threshold, or all rows are on one side of it.
        SettingError: The threshold is no finite number.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise SettingError(f"--threshold must be a finite number, got {threshold}")
    found = sorted(labels.unique())
    place = f"{table.file}, column {column}"
    if threshold is None and len(found) > 1 and found != [0, 1]:
        if not _are_stars(found):
            example = number_text(found[int(0.7 * len(found))])
            raise DataError(
                f"{place}: the values {_shown(found)} are no 0 and 1 and no 1 to 5 stars; say with --threshold "
                f"from which value on a row is positive, such as --threshold {example}"
            )
        threshold = 4.0
    least = 0.5 if threshold is None else threshold
    if found == [1] and threshold is None:
        raise DataError(
            f"{place}: all {len(labels)} rows are positive (1), and clicks alone need negative sampling, which "
            "from-table does not do; add rows of what was shown and not clicked, with label 0"
        )
    positive = int((labels >= least).sum())
    if not 0 < positive < len(labels):
        raise DataError(
            f"{place}: {positive} of {len(labels)} rows are positive, {number_text(least)} or more; both kinds "
            f"are needed, and the values are {_shown(found)}"
        )
    return threshold


def _are_stars(found: list[float]) -> bool:
    return found[-1] == 5 and 0.5 <= found[0] < 4 and all(float(2 * value).is_integer() for value in found)


def _shown(found: list[float]) -> str:
    if len(found) > _SHOWN:
        return f"from {number_text(found[0])} to {number_text(found[-1])} ({len(found)} different ones)"
    return ", ".join(number_text(value) for value in found)

"""Dates written as whole numbers, such as 20180901, which could be mistaken for a number of seconds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.distinct import DistinctValues, hash_columns
from recbole_clickprompt.data.convert.table import Faults, TextTable
from recbole_clickprompt.errors import DataError

__all__ = ["DigitDates", "form_width", "pad_digits"]

_CODES = {
    "%Y": r"(?:19|20)\d\d",
    "%y": r"\d\d",
    "%m": r"(?:0[1-9]|1[0-2])",
    "%d": r"(?:0[1-9]|[12]\d|3[01])",
    "%H": r"(?:[01]\d|2[0-3])",
    "%M": r"[0-5]\d",
    "%S": r"[0-5]\d",
    "%f": r"\d{3}(?:\d{3})?",
}
_WIDTHS = {"%Y": 4} | dict.fromkeys(("%y", "%m", "%d", "%H", "%M", "%S"), 2)
_FORMS = [
    *("%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S%f"),
    *("%d%m%Y", "%m%d%Y", "%y%m%d"),
]


class DigitDates:
    """Counts the numbers of a column that look like the digits of a date.

    A column of dates may hold some that are wrong or stand for none, such as 0 and 99991231; of other numbers one
    in 27 looks like a date, or fewer. Digits in several forms count once for each form.

    Args:
        column: Name of the column.
        folder: For temporary files.
    """

    def __init__(self, column: str, folder: Path) -> None:
        self._column, self._file = column, ""
        self._numbers = DistinctValues(folder)
        self._dates = DistinctValues(folder, with_rows=True)
        self._examples: dict[str, str] = {}

    def add(self, table: TextTable, numbers: pl.Series) -> None:
        """Adds a batch.

        Args:
            table: Its column is of texts or numbers.
            numbers: ``(rows,)`` the same as finite numbers; None where one is missing.
        """
        self._file = table.file
        self._numbers.add(hash_columns(numbers.filter(numbers > 0)))
        values = table.frame[self._column].filter(numbers > 0)
        if not values.dtype.is_integer() and values.dtype != pl.String:
            values = values.cast(pl.Float64)
            values = values.filter(values % 1 == 0).cast(pl.Int64, strict=False)
        digits = values.cast(pl.String).str.strip_chars().str.replace(r"\.0*$", "").drop_nulls()
        digits = digits.filter(digits.str.contains(_ANY_FORM)).unique(maintain_order=True)
        if not len(digits):
            return
        flags = np.zeros(len(digits), np.uint8)
        for bit, form in enumerate(_FORMS):
            found = digits.str.contains(_pattern(form))
            flags |= found.to_numpy().astype(np.uint8) << np.uint8(bit)
            if found.any():
                self._examples.setdefault(form, digits.filter(found)[0])
        self._dates.add(hash_columns(digits), flags)

    def check(self) -> None:
        """Raises DataError where more than half of the different numbers above 0 are digits of a date."""
        if not self._examples:
            return
        counts = self._dates.flag_counts().flagged
        if 2 * counts.max() <= self._numbers.count():
            return
        forms = [form for form, count in zip(_FORMS, counts, strict=True) if count == counts.max()]
        raise DataError(
            f"{self._file}, column {self._column}: numbers such as {self._examples[forms[0]]} look like dates, "
            f"not like a number of seconds; say so with --date-format {' or '.join(forms)}"
        )


def pad_digits(table: TextTable, texts: pl.Series, form: str, wrong: Faults) -> pl.Series:
    """Digits with the leading zero that a number lost, where ``form`` is all codes of two and four digits.

    Without it 1022018 would be the tenth of February by %d%m%Y.

    Args:
        table: Where the texts are from.
        texts: ``(rows,)`` dates as digits.
        form: Codes of ``strptime``.
        wrong: Gets the texts with more digits, or fewer, which ``strptime`` splits arbitrarily.
    """
    width = form_width(form)
    if not width:
        return texts
    lost = texts.str.contains(rf"^\d{{{width - 1}}}$")
    texts = pl.select(pl.when(lost).then(texts.str.zfill(width)).otherwise(texts)).to_series().rename(texts.name)
    wrong.add(table, (texts.str.contains(r"^\d+$") & (texts.str.len_chars() != width)).fill_null(False))
    return texts


def form_width(form: str) -> int:
    """Number of digits of a date in this form; 0 where it is not all codes of two and four digits."""
    codes = re.findall("%.", form)
    if "".join(codes) != form or not set(codes) <= set(_WIDTHS):
        return 0
    return sum(_WIDTHS[code] for code in codes)


def _pattern(form: str) -> str:
    """Matches all digits of a date in this form, also without a leading zero."""
    pattern = re.sub("%.", lambda code: _CODES[code.group()], form)
    return f"^{pattern.replace('(?:0', '(?:0?', 1) if form[:2] in ('%d', '%m') else pattern}$"


_ANY_FORM = "|".join(_pattern(form) for form in _FORMS)

"""Dates written as whole numbers, such as 20180901: a date to people, and a second of 1970 to a computer."""

from __future__ import annotations

import re

import polars as pl

from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.errors import DataError

__all__ = ["pad_digits", "refuse_digits_of_dates"]

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


def refuse_digits_of_dates(table: TextTable, column: str, numbers: pl.Series) -> None:
    """Raises DataError where more than half of the different numbers above 0 are digits of a date.

    A column of dates may hold some that are wrong or stand for none, such as 0 and 99991231; of other numbers one
    in 27 looks like a date, or fewer.

    Args:
        table: The table.
        column: Its column of texts or numbers.
        numbers: ``(rows,)`` the same as finite numbers; None where one is missing.
    """
    values = table.frame[column].filter(numbers > 0)
    if not values.dtype.is_integer() and values.dtype != pl.String:
        values = values.cast(pl.Float64)
        values = values.filter(values % 1 == 0).cast(pl.Int64, strict=False)
    digits = values.cast(pl.String).str.strip_chars().str.replace(r"\.0*$", "").unique(maintain_order=True)
    found = {form: digits.str.contains(_pattern(form)).fill_null(False) for form in _FORMS}
    most = max(int(dates.sum()) for dates in found.values())
    if 2 * most <= numbers.filter(numbers > 0).n_unique():
        return
    forms = [form for form, dates in found.items() if dates.sum() == most]
    raise DataError(
        f"{table.file}, column {column}: numbers such as {digits.filter(found[forms[0]])[0]} look like dates, not "
        f"like a number of seconds; say so with --date-format {' or '.join(forms)}"
    )


def pad_digits(table: TextTable, texts: pl.Series, form: str) -> pl.Series:
    """Digits with the zero in front that a number lost, where ``form`` is all codes of two and four digits.

    Without it 1022018 would be the tenth of February by %d%m%Y.

    Raises:
        DataError: There are more digits, or fewer, which ``strptime`` shares out among the codes as it likes.
    """
    codes = re.findall("%.", form)
    if "".join(codes) != form or not set(codes) <= set(_WIDTHS):
        return texts
    width = sum(_WIDTHS[code] for code in codes)
    lost = texts.str.contains(rf"^\d{{{width - 1}}}$")
    texts = pl.select(pl.when(lost).then(texts.str.zfill(width)).otherwise(texts)).to_series().rename(texts.name)
    wrong = texts.str.contains(r"^\d+$") & (texts.str.len_chars() != width)
    table.refuse(texts.name, wrong.fill_null(False), f"is no time of the form {form}, which has {width} digits")
    return texts


def _pattern(form: str) -> str:
    """Of all digits of a date; the first zero may be lost."""
    pattern = re.sub("%.", lambda code: _CODES[code.group()], form)
    return f"^{pattern.replace('(?:0', '(?:0?', 1) if form[:2] in ('%d', '%m') else pattern}$"

"""Numbers written as text: one list of the words for a missing number, for every file that is read."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

__all__ = ["MISSING_NUMBERS", "ParsedNumbers", "number_text", "parse_numbers"]

# In lower case. In a number column these mean that there is no number; in a text column they are ordinary text.
MISSING_NUMBERS = frozenset(
    {"", "-", "--", "?", ".", "\\n", "#n/a", "#n/a n/a", "#na", "<na>", "n/a", "na", "nan", "-nan", "nat"}
    | {"-1.#ind", "-1.#qnan", "1.#ind", "1.#qnan", "none", "null", "nil"}
)
_INFINITE = frozenset({f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "infinity")})


class ParsedNumbers(NamedTuple):
    """A column of numbers, and the rows where the text was none.

    Attributes:
        values: ``(rows,)`` float64, finite; None where missing, infinite or invalid.
        infinite: ``(rows,)`` bool: infinity, or a number too large for 64 bits.
        invalid: ``(rows,)`` bool: neither a number nor a word for a missing one.
    """

    values: pl.Series
    infinite: pl.Series
    invalid: pl.Series


def parse_numbers(texts: pl.Series) -> ParsedNumbers:
    """Reads numbers; surrounding blanks and upper or lower case make no difference.

    Args:
        texts: ``(rows,)`` strings; None where a cell is empty.
    """
    words = texts.str.strip_chars().str.to_lowercase()
    numbers = words.cast(pl.Float64, strict=False)
    infinite = (words.is_in(list(_INFINITE)) | numbers.is_infinite()).fill_null(False)
    missing = words.is_null() | words.is_in(list(MISSING_NUMBERS))
    finite = numbers.is_finite().fill_null(False) & ~missing
    values = pl.select(pl.when(finite).then(numbers).otherwise(None)).to_series().rename(texts.name)
    return ParsedNumbers(values, infinite, ~(finite | infinite | missing.fill_null(True)))


def number_text(value: float) -> str:
    """A number as people write it: 1996 and not 1996.0, 7.99, 0.5."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))

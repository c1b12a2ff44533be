"""Parses numbers written as text, with one list of words for a missing number for all files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "MISSING_NUMBERS", "ArrowNumbers", "ParsedNumbers", "float_codes", "number_text", "parse_arrow_numbers",
    "parse_numbers",
]  # fmt: skip

# In lower case. In a column of numbers these stand for a missing one; in a column of text they are ordinary text.
MISSING_NUMBERS = frozenset(
    {"", "-", "--", "?", ".", "\\n", "#n/a", "#n/a n/a", "#na", "<na>", "n/a", "na", "nan", "-nan", "nat"}
    | {"-1.#ind", "-1.#qnan", "1.#ind", "1.#qnan", "none", "null", "nil"}
)
_INFINITE = frozenset({f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "infinity")})
_NUMBER = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$"


class ArrowNumbers(NamedTuple):
    """A column of numbers, and the rows whose text is not a finite number.

    Attributes:
        values: ``(rows,)`` float64, finite; null where missing, infinite or invalid.
        infinite: ``(rows,)`` bool: infinity, or a number too large for 64 bits.
        invalid: ``(rows,)`` bool: neither a number nor a word for a missing one.
    """

    values: pa.Array
    infinite: pa.Array
    invalid: pa.Array


class ParsedNumbers(NamedTuple):
    """``ArrowNumbers`` as polars series."""

    values: pl.Series
    infinite: pl.Series
    invalid: pl.Series


def parse_arrow_numbers(texts: pa.ChunkedArray | pa.Array) -> ArrowNumbers:
    """Parses numbers; surrounding blanks and case are ignored.

    It uses pyarrow in the calling thread only: polars' thread pool does not survive a fork.

    Args:
        texts: ``(rows,)`` strings; null where a cell is empty.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    words = pc.utf8_lower(pc.utf8_trim_whitespace(pc.fill_null(texts.cast(pa.large_string()), "")))
    is_number = pc.match_substring_regex(words, _NUMBER)
    unsigned = pc.utf8_ltrim(words, characters="+")
    numbers = pc.if_else(is_number, unsigned, pa.scalar(None, pa.large_string())).cast(pa.float64())
    finite = pc.fill_null(pc.is_finite(numbers), False)
    named = pc.is_in(words, value_set=pa.array(sorted(_INFINITE), pa.large_string()))
    missing = pc.is_in(words, value_set=pa.array(sorted(MISSING_NUMBERS), pa.large_string()))
    infinite = pc.or_(named, pc.and_(is_number, pc.invert(finite)))
    values = pc.if_else(finite, numbers, pa.scalar(None, pa.float64()))
    invalid = pc.invert(pc.or_(finite, pc.or_(infinite, missing)))
    return ArrowNumbers(values, infinite, invalid)


def parse_numbers(texts: pl.Series) -> ParsedNumbers:
    """Like ``parse_arrow_numbers``, for a polars series of strings."""
    import polars as pl  # a module-level import would double the import time of the plug-in

    parsed = parse_arrow_numbers(texts.to_arrow())
    return ParsedNumbers(*(pl.Series(texts.name, pl.from_arrow(part)) for part in parsed))


def float_codes(values: pl.Series) -> pl.Series:
    """Numbers as the texts of a token field, whole ones without a fraction; null where one is missing or infinite.

    Libraries make 2004.0 of 2004 where a value of the column is missing.
    """
    import polars as pl

    return values.cast(pl.String).str.strip_suffix(".0").set(~values.is_finite().fill_null(False), None)


def number_text(value: float) -> str:
    """A number as people write it: 1996 instead of 1996.0, 7.99, 0.5."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))

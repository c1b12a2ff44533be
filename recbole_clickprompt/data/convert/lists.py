"""Columns of lists: missing elements are left out, and a separator is found that no element contains."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from recbole_clickprompt.errors import DataError

__all__ = ["ListColumn", "choose_separator", "joined"]

# A blank, RecBole's default, comes first; tabs and line breaks become blanks in the files
_SEPARATORS = {
    " ": r"[ \t\r\n]", "|": r"\|", ";": ";", ",": ",", "/": "/", "~": "~", "^": r"\^", "\x1f": r"\x1f",
}  # fmt: skip


class ListColumn:
    """Lists of texts or numbers, batch by batch.

    Attributes:
        dropped: Number of elements that are missing, empty, NaN or infinite, and left out.
        separators: Possible separators of the elements in a file, in the order of preference.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.separators = list(_SEPARATORS)

    def add(self, lists: pl.Series) -> None:
        """Adds a batch."""
        texts, dropped = _without_missing_elements(lists)
        self.dropped += dropped
        elements = texts.explode()
        self.separators = [s for s in self.separators if not elements.str.contains(_SEPARATORS[s]).any()]


def choose_separator(columns: Iterable[ListColumn], file: str) -> str:
    """The preferred separator that no element of any column contains.

    Raises:
        DataError: There is none.
    """
    possible = list(_SEPARATORS)
    for column in columns:
        possible = [separator for separator in possible if separator in column.separators]
    if not possible:
        raise DataError(
            f"{file}: the values of lists contain each of {' '.join(map(repr, _SEPARATORS))}, one of which must "
            "separate them; remove one from them"
        )
    return possible[0]


def joined(lists: pl.Series, separator: str) -> pl.Series:
    """Lists as texts, without elements that are missing, empty, NaN or infinite."""
    return _without_missing_elements(lists)[0].list.join(separator)


def _without_missing_elements(lists: pl.Series) -> tuple[pl.Series, int]:
    """Lists of texts without elements that are missing, empty, NaN or infinite, and the number of these."""
    element = pl.element()
    is_value = element.is_not_null() & (element.cast(pl.String) != "")
    if lists.dtype.inner.is_float():  # type: ignore[attr-defined]
        is_value &= element.is_finite()
    kept = lists.list.eval(element.filter(is_value))
    dropped = int(lists.list.len().sum()) - int(kept.list.len().sum())
    return kept.cast(pl.List(pl.String)), dropped

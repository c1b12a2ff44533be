"""What is often a mistake in a user's own table, and is read unchanged, with a note."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from recbole_clickprompt.data.convert.typed import column_numbers

__all__ = ["counting_columns", "list_notes", "repeated_rows"]

_FEW_ROWS = 10  # in fewer a column with a name may count the rows by chance

_ARE_LISTS = 0.1  # part of the different values that must look like lists of several elements


def repeated_rows(frame: pl.DataFrame) -> list[str]:
    """How many rows are the same as an earlier one in every column."""
    repeated = len(frame) - frame.n_unique()
    if not repeated:
        return []
    return ["1 row repeats an earlier one" if repeated == 1 else f"{repeated:,} rows repeat an earlier one"]


def counting_columns(frame: pl.DataFrame, columns: Iterable[str]) -> list[str]:
    """Those of ``columns`` that number the rows, such as the index that pandas writes: no row has one twice."""
    notes = []
    for column in columns:
        values, has_name = frame[column], bool(column.strip())
        if not (values.dtype.is_numeric() or values.dtype == pl.String) or len(frame) < (
            _FEW_ROWS if has_name else 2
        ):
            continue
        numbers = column_numbers(values).values
        for first in (0, 1):
            if (numbers == pl.int_range(first, first + len(frame), eager=True)).fill_null(False).all():
                notes.append(f"column {column!r} counts the rows from {first}: leave it out")
    return notes


def list_notes(values: pl.Series) -> list[str]:
    """That texts such as ``Action|Comedy`` and ``['a', 'b']`` are each one value."""
    if values.dtype != pl.String:
        return []
    texts = values.drop_nulls().unique(maintain_order=True)
    found = texts.filter(texts.str.contains(r"^\s*(?:\[.*\]|\{.*\}|\(.*,.*\))\s*$"))
    if 2 * len(found) <= len(texts):
        found = next((several for separator in "|;," if len(several := _several(texts, separator))), found.clear())
    if not len(found):
        return []
    shown = found[0] if len(found[0]) < 60 else f"{found[0][:60]}…"
    return [
        f"{values.name}: looks like a list, such as {shown!r}, and is read as one value; to have its elements, "
        "write the table as parquet, with a column of lists"
    ]


def _several(texts: pl.Series, separator: str) -> pl.Series:
    """Texts of several elements; none where there are few of them, or where these do not come again and again.

    A comma or semicolon may as well be part of a text, whose parts differ.
    """
    several = texts.filter(texts.str.contains(rf"[^\s{separator}]\s*\{separator}\s*[^\s{separator}]"))
    elements = texts.str.split(separator).explode().str.strip_chars()
    is_list = separator == "|" or elements.n_unique() < len(texts)
    return several if is_list and len(several) >= _ARE_LISTS * len(texts) else several.clear()

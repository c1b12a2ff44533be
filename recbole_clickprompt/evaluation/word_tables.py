"""Tables of words that a method adds to a run, such as items and those that are nearest to them."""

from __future__ import annotations

from typing import Any, NamedTuple

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.value_checks import short_repr

__all__ = ["WordTable", "read_word_tables"]


class WordTable(NamedTuple):
    """A table whose cells are words.

    Attributes:
        title: Heading.
        caption: What it shows.
        header: Title of each column.
        rows: Cells of each row, one per column.
    """

    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]


def read_word_tables(value: Any, source: object) -> list[WordTable]:
    """Tables out of a ``run.json``, where each is a mapping.

    Args:
        value: What the file has.
        source: The file, for the message.

    Raises:
        DataError: It is no list of such tables.
    """
    if not isinstance(value, list) or not all(_is_table(table) for table in value):
        raise DataError(
            f"{source}: tables must be a list of tables with title, caption, header and rows, got "
            f"{short_repr(value)}; restore the file or train again"
        )
    return [WordTable(**table) for table in value]


def _is_table(table: Any) -> bool:
    if not isinstance(table, dict) or table.keys() != set(WordTable._fields):
        return False
    header, rows = table["header"], table["rows"]
    if not isinstance(table["title"], str) or not isinstance(table["caption"], str) or not _are_words(header):
        return False
    return isinstance(rows, list) and all(_are_words(row) and len(row) == len(header) for row in rows)


def _are_words(cells: Any) -> bool:
    return isinstance(cells, list) and all(isinstance(cell, str) for cell in cells)

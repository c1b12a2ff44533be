"""Quoted values of csv text that hold line breaks: a text of several lines, or rows behind a stray quote."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from recbole_clickprompt.data.numbers import MISSING_NUMBERS
from recbole_clickprompt.errors import DataError

__all__ = ["refuse_swallowed_rows", "unclosed_quote"]


def unclosed_quote(text: str, separator: str) -> int | None:
    """Line of the quote that is opened and never closed; None where there is no such quote."""
    text = _with_equal_line_ends(text)
    return next((_line(text, match) for match in _quoted(text, separator) if not match["end"]), None)


def refuse_swallowed_rows(
    text: str, file: str, separator: str, header: Sequence[str], number_column: str | None, remedy: str
) -> None:
    """Raises DataError for a quoted value that has whole rows inside, by the line where its quote opens.

    A value that begins with a stray quote ends at the next one, rows later. A line is taken for a row if it has as
    many values as the header, with a number in ``number_column`` if there is one. A line in the middle of a value
    may not be one, and the first and the last may not both be: a text of several lines is next to never like this.
    """
    at = None if number_column is None else header.index(number_column)
    text = _with_equal_line_ends(text)
    for match in _quoted(text, separator):
        if "\n" not in match.group():
            continue
        begin, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
        lines = text[begin : end if end >= 0 else None].split("\n")
        are_rows = [_is_row(line, separator, len(header), at) for line in lines]
        if any(are_rows[1:-1]) or (are_rows[0] and are_rows[-1]):
            first = _line(text, match)
            last = first + len(lines) - 1
            raise DataError(
                f"{file}, line {first}: a quote opens here and closes in line {last}, with whole rows in between"
                f"{remedy}; if it is a text of several lines, remove its line breaks"
            )


def _with_equal_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _quoted(text: str, separator: str) -> Iterator[re.Match[str]]:
    """All quoted values; ``end`` is empty for one that is never closed."""
    start = rf'(?:\A|(?<=[{re.escape(separator)}\n]))"'
    return re.finditer(start + r'[^"]*(?:""[^"]*)*(?P<end>"?)', text)


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _is_row(line: str, separator: str, columns: int, at: int | None) -> bool:
    readings = line.split(separator), next(csv.reader([line], delimiter=separator), [])
    return any(len(values) == columns and (at is None or _is_label(values[at])) for values in readings)


def _is_label(value: str) -> bool:
    word = value.strip().strip('"').lower()
    return word in MISSING_NUMBERS or word in ("true", "false") or _is_number(word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

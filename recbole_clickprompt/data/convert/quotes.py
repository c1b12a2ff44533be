"""Quoted values of csv text that hold line breaks: a text of several lines, or rows after a stray quote."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recbole_clickprompt.data.numbers import MISSING_NUMBERS
from recbole_clickprompt.errors import DataError

__all__ = ["Spans", "allow_long_values", "end_of_records", "find_spans", "refuse_swallowed_rows", "unclosed_quote"]


def allow_long_values(text: str) -> None:
    """Lets ``csv``, whose limit of 131,072 characters holds for the whole process, read values of any length."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))


def unclosed_quote(text: str, separator: str) -> int | None:
    """Line of the quote that is opened and never closed; None where there is no such quote."""
    text = _with_equal_line_ends(text)
    return next((_line(text, match) for match in _quoted(text, separator, None) if not match["end"]), None)


class Spans(NamedTuple):
    """Quoted values that span lines.

    Attributes:
        number: How many there are.
        first: First and last line of the first one.
    """

    number: int
    first: tuple[int, int]

    def note(self, file: str, remedy: str) -> str:
        """One sentence; such a value may be a stray quote that has swallowed rows."""
        number = "1 quoted value spans" if self.number == 1 else f"{self.number:,} quoted values span"
        return (
            f"{file}: {number} lines, the first from line {self.first[0]} to line {self.first[1]}; a stray quote "
            f"would look like this: see that no row is inside{remedy}"
        )


def refuse_swallowed_rows(
    text: str,
    file: str,
    separator: str,
    header: Sequence[str],
    number_column: str | None,
    remedy: str,
    escape: str | None = None,
) -> list[str]:
    """A note on the quoted values that span lines; see ``find_spans``, whose errors it raises."""
    spans = find_spans(text, file, separator, header, number_column, remedy, escape)
    return [spans.note(file, remedy)] if spans else []


def find_spans(
    text: str,
    file: str,
    separator: str,
    header: Sequence[str],
    number_column: str | None,
    remedy: str,
    escape: str | None = None,
    first_line: int = 1,
) -> Spans | None:
    """The quoted values that span lines, none of which holds a whole row.

    A value that begins with a stray quote ends at the next one, rows later. A line is taken for a row if it has as
    many values as the header, with a number in ``number_column`` if there is one. A line in the middle of a value
    may not be one, and the first and the last may not both be: a text of several lines is almost never like this.

    Raises:
        DataError: A quoted value has whole rows inside; by the line where its quote opens.
    """
    number_index = None if number_column is None else header.index(number_column)
    allow_long_values(text)
    text = _with_equal_line_ends(text)
    number, first_span = 0, (0, 0)
    for match in _quoted(text, separator, escape):
        if "\n" not in match.group():
            continue
        begin, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
        lines = text[begin : end if end >= 0 else None].split("\n")
        are_rows = [_is_row(line, separator, escape, len(header), number_index) for line in lines]
        if any(are_rows[1:-1]) or (are_rows[0] and are_rows[-1]):
            first, last = _lines(text, match, first_line)
            raise DataError(
                f"{file}, line {first}: a quote opens here and closes in line {last}, with whole rows in between"
                f"{remedy}; if it is a text of several lines, remove its line breaks"
            )
        number += 1
        if number == 1:
            first_span = _lines(text, match, first_line)
    return Spans(number, first_span) if number else None


def end_of_records(text: str, separator: str) -> int:
    """Where the last complete record of ``text`` ends, which begins with a record; 0 where none is complete.

    A line break inside a quoted value ends no record.
    """
    limit, spans = len(text), []
    for match in _quoted(text, separator, None):
        if not match["end"]:
            limit = match.start()
        elif _line_end(text, match.start(), match.end()):
            spans.append(match.span())
    end = _line_end(text, 0, limit)
    while spans and end > spans[-1][0]:
        start, stop = spans.pop()
        if end <= stop:
            end = _line_end(text, 0, start)
    return end


def _line_end(text: str, start: int, end: int) -> int:
    """End of the last line break between two places, 0 where there is none."""
    return max(text.rfind("\n", start, end), text.rfind("\r", start, end)) + 1


def _with_equal_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _quoted(text: str, separator: str, escape: str | None) -> Iterator[re.Match[str]]:
    """All quoted values; ``end`` is empty for one that is never closed."""
    start = rf'(?:\A|(?<=[{re.escape(separator)}\r\n]))"'
    inside = rf'[^"{re.escape(escape)}]*(?:{re.escape(escape)}.[^"{re.escape(escape)}]*)*' if escape else ""
    return re.finditer(start + (inside or r'[^"]*(?:""[^"]*)*') + r'(?P<end>"?)', text, re.DOTALL)


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _lines(text: str, match: re.Match[str], first_line: int) -> tuple[int, int]:
    first = _line(text, match) - 1 + first_line
    return first, first + match.group().count("\n")


def _is_row(line: str, separator: str, escape: str | None, columns: int, index: int | None) -> bool:
    reader = csv.reader([line], delimiter=separator, escapechar=escape, doublequote=not escape)
    readings = line.split(separator), next(reader, [])
    return any(len(values) == columns and (index is None or _is_label(values[index])) for values in readings)


def _is_label(value: str) -> bool:
    word = value.strip().strip('"').lower()
    return word in MISSING_NUMBERS or word in ("true", "false") or _is_number(word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

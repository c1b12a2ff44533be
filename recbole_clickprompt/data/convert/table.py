"""Tables of text, in which every fault is reported by file, line and column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from recbole_clickprompt.errors import DataError

__all__ = ["Faults", "TextTable", "read_lines"]


@dataclass(frozen=True)
class TextTable:
    """Rows of a file, and the line of each.

    Attributes:
        frame: The columns; None where a value is missing.
        file: Name of the file.
        line_of: Returns the line of a row; lines count from 1, rows from 0.
        notes: What is odd about the file, one line each.
    """

    frame: pl.DataFrame
    file: str
    line_of: Callable[[int], int]
    notes: tuple[str, ...] = ()

    def place(self, row: int, column: str) -> str:
        """``"ratings.dat, line 3, column rating"``."""
        return f"{self.file}, line {self.line_of(row)}, column {column}"

    def with_numbers(self, dtype: type[pl.DataType], *columns: str) -> TextTable:
        """The same table with some columns as numbers.

        Raises:
            DataError: A value is no finite number of that type.
        """
        frame = self.frame
        for column in columns:
            texts = frame[column].str.strip_chars()
            values = texts.cast(dtype, strict=False)
            bad = values.is_null() & texts.is_not_null()
            if values.dtype.is_float():
                bad |= ~values.is_finite().fill_null(True)
            self.refuse(column, bad, "is no number" if values.dtype.is_float() else "is no whole number")
            frame = frame.with_columns(values.alias(column))
        return replace(self, frame=frame)

    def with_columns(self, *columns: pl.Series) -> TextTable:
        """The same table with columns replaced by those of the same names."""
        return replace(self, frame=self.frame.with_columns(*columns))

    def keep(self, kept: pl.Series) -> TextTable:
        """The rows where ``kept`` is true; they keep their lines."""
        rows = kept.arg_true()
        return replace(self, frame=self.frame.filter(kept), line_of=lambda row: self.line_of(int(rows[row])))

    def refuse_missing(self, *columns: str) -> None:
        """Raises DataError where one of ``columns`` has no value."""
        for column in columns:
            self.refuse(column, self.frame[column].is_null(), "is missing")

    def refuse_repeated(self, column: str) -> None:
        """Raises DataError if a value of ``column`` is repeated."""
        self.refuse(column, ~self.frame[column].is_first_distinct(), "is there twice")

    def refuse_unknown(self, column: str, known: TextTable) -> None:
        """Raises DataError if a value of ``column`` is not in the same column of another table."""
        is_known = self.frame[column].is_in(known.frame[column].unique().implode())
        self.refuse(column, ~is_known, f"is not in {known.file}")

    def refuse(self, column: str, bad: pl.Series, why: str) -> None:
        """Raises DataError for the first row where ``bad`` is true, with the value and ``why``."""
        faults = Faults(column, why)
        faults.add(self, bad)
        faults.check()


@dataclass
class Faults:
    """Bad values of a column that is read batch by batch: the first one, and how many there are.

    Attributes:
        column: Name of the column.
        why: What is wrong with the values, as in "is no number".
        number: Rows with a bad value so far.
    """

    column: str
    why: str
    number: int = 0
    _first: str = field(default="", init=False)

    def add(self, table: TextTable, bad: pl.Series) -> None:
        """Adds a batch; ``bad`` is true for its rows with a bad value."""
        number = int(bad.sum())
        if number and not self.number:
            row = int(bad.arg_true()[0])
            value = table.frame[self.column][row]
            shown = "a value" if value is None else repr(value if len(str(value)) < 60 else f"{str(value)[:60]}…")
            self._first = f"{table.place(row, self.column)}: {shown}"
        self.number += number

    def check(self) -> None:
        """Raises DataError if there was a bad value."""
        if self.number:
            more = f" (and {self.number - 1} more rows)" if self.number > 1 else ""
            raise DataError(f"{self._first} {self.why}{more}")


def read_lines(text: str, file: str, separator: str, columns: Sequence[str], first_line: int = 1) -> TextTable:
    """Parses rows without quotes and header, such as ``1::Toy Story (1995)::Comedy``, from ``first_line`` on.

    Raises:
        DataError: A line has more or fewer fields than ``columns``, or there is no line.
    """
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines == [""]:
        raise DataError(f"{file} is empty")
    parts = pl.Series("row", lines, dtype=pl.String).str.split(separator)
    wrong = (parts.list.len() != len(columns)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{file}, line {row + first_line}: {len(parts[row])} fields where {len(columns)} are expected, "
            f"{separator.join(columns)}"
        )
    frame = parts.to_frame().select(pl.col("row").list.get(i).alias(name) for i, name in enumerate(columns))
    return TextTable(frame.with_columns(pl.all().replace("", None)), file, lambda row: row + first_line)

"""What the user says about a table: which columns are named, how they are read, which features are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from recbole_clickprompt.errors import DataError, nearest

__all__ = ["Columns", "Features", "Reading", "check_column"]


@dataclass(frozen=True)
class Columns:
    """Names of the columns of user, item, label and time; the last two may be None."""

    user: str
    item: str
    label: str | None = None
    time: str | None = None

    def existing(self) -> list[str]:
        """Names of the existing columns."""
        return [column for column in (self.user, self.item, self.label, self.time) if column]

    def fields(self, *, label: str) -> dict[str, str]:
        """Maps each column to its field; ``label`` is the field of the label, ``label`` or ``rating``."""
        fields = {self.user: "user_id", self.item: "item_id"}
        if self.label:
            fields[self.label] = label
        return {**fields, self.time: "timestamp"} if self.time else fields

    def check(self, file: str, names: Sequence[str]) -> None:
        """Raises DataError where they are not different, or are not among the ``names`` of the file's columns."""
        asked = self.existing()
        if len(set(asked)) < len(asked):
            raise DataError("--user, --item, --label and --time must be four different columns")
        for column in asked:
            check_column(column, file, names)


def check_column(column: str, file: str, names: Sequence[str]) -> None:
    """Raises DataError if a file does not have the column; ``names`` are those that it has."""
    if column not in names:
        blanks = [name for name in names if name.strip().lower() == column.strip().lower()]
        close = f"; did you mean {blanks[0]!r}?" if blanks else nearest(column, names)
        existing = ", ".join(map(repr, names))
        raise DataError(f"{file} has no column {column!r}; there are {existing}{close}")


@dataclass(frozen=True)
class Reading:
    """Options for reading a table, where its values do not decide.

    Attributes:
        quoting: Values of csv may be in quotes; else a quote is an ordinary character.
        drop_missing: Rows without a label or a time are left out; else they are an error.
        drop_labels: Rows with these labels are left out.
        date_format: How times are written, by codes of ``strptime``.
        day_first: Dates with the year at the end begin with the day, or the month; None: the values must show it.
        threshold: A row is positive from this label on.
    """

    quoting: bool = True
    drop_missing: bool = False
    drop_labels: tuple[float, ...] = ()
    date_format: str | None = None
    day_first: bool | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Features:
    """Options for the columns that are neither ids nor label nor time.

    Attributes:
        drop: Columns that are left out.
        keep: Columns that stay features although they give the label away, or are one-to-one with an id.
        text_only: Columns that only language models read.
        lists: Columns of texts that are lists, each with the separator of its values.
    """

    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    text_only: tuple[str, ...] = ()
    lists: Mapping[str, str] = field(default_factory=dict)

    def check(self, columns: Columns) -> None:
        """Raises DataError where they name a column of ``columns``, or one in two ways that exclude each other."""
        named, options = columns.existing(), self._options()
        for option, asked in options.items():
            if wrong := [column for column in asked if column in named]:
                raise DataError(f"{option} names {wrong[0]!r}, the column of an id, the label or the time")
        for one, other in (
            ("--drop", "--keep"), ("--drop", "--text-only"), ("--drop", "--list"), ("--text-only", "--list"),
            ("--text-only", "--keep"),
        ):  # fmt: skip
            if both := sorted({*options[one]} & {*options[other]}):
                raise DataError(f"{one} and {other} both name {both[0]!r}; choose one")

    def check_existing(self, file: str, names: Sequence[str]) -> None:
        """Raises DataError where they name a column that is not among the ``names`` of all tables' columns."""
        for column in (column for asked in self._options().values() for column in asked):
            check_column(column, file, names)

    def _options(self) -> dict[str, list[str]]:
        return {
            "--drop": [*self.drop],
            "--keep": [*self.keep],
            "--text-only": [*self.text_only],
            "--list": [*self.lists],
        }

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows of a file without dropped columns, and with lists as columns of lists."""
        frame = frame.drop(self.drop, strict=False)
        lists = [frame[column] for column in self.lists if column in frame.columns]
        return frame.with_columns(
            values.cast(pl.String).str.split(self.lists[values.name]).list.eval(pl.element().str.strip_chars())
            for values in lists
            if values.dtype != pl.List
        )

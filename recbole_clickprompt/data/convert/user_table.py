"""A user's own table of clicks or ratings to atomic files, with guessed sources and types of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.infer_schema import field_names, guess_column, guess_source
from recbole_clickprompt.data.convert.named import Columns, Reading, read_named
from recbole_clickprompt.data.convert.oddities import counting_columns, list_notes, repeated_rows
from recbole_clickprompt.data.convert.user_file import read_user_file

__all__ = ["UserTable", "read_user_table"]

_SOURCES = ("inter", "user", "item")


@dataclass(frozen=True)
class UserTable:
    """What was read and guessed.

    Attributes:
        frame: All rows, a column a field.
        words: Field: the user's name of it, in words; in the order of the text.
        sources: Field: ``inter``, ``user`` or ``item``.
        types: Field: ``token``, ``token_seq`` or ``float``.
        threshold: The label is 1 from this value of ``rating`` on; None where ``label`` is 0 or 1 itself.
        rows_read: Rows of the table, of which ``frame`` has all but the dropped ones.
        facts: What was read of labels and times, a line each.
        notes: What is odd about the table, a line each.
    """

    frame: pl.DataFrame
    words: dict[str, str]
    sources: dict[str, str]
    types: dict[str, str]
    threshold: float | None
    rows_read: int
    facts: list[str]
    notes: list[str]

    def fields(self, source: str) -> list[str]:
        """Fields of a source, the ids first."""
        ids = {"inter": ["user_id", "item_id"], "user": ["user_id"], "item": ["item_id"]}[source]
        return ids + [field for field, of in self.sources.items() if of == source and field not in ids]

    def write(self, folder: Path, name: str) -> list[str]:
        """Writes the atomic files; returns notes on what was changed."""
        notes: list[str] = []
        for source in _SOURCES:
            fields = self.fields(source)
            if source == "inter" or len(fields) > 1:
                frame = self.frame if source == "inter" else self.frame.unique(fields[0], maintain_order=True)
                notes += write_atomic(folder / f"{name}.{source}", frame, {f: self.types[f] for f in fields})
        return notes


def read_user_table(path: Path, columns: Columns, reading: Reading) -> UserTable:
    """Reads a csv, tsv or parquet file and guesses what its columns are.

    A column is of the user where every user has one value of it, or of the item where every item has; else it is
    of the row. Numbers of more than 200 values are ``float``, lists ``token_seq``, and all others ``token``.

    Raises:
        DataError: The file or a column of it cannot be used; by line and column.
        SettingError: The date format or the threshold is none.
    """
    table = read_user_file(path, label=columns.label, quoting=reading.quoting)
    named = read_named(table, columns, reading)
    frame, threshold = named.table.frame, named.threshold
    known = columns.fields(label="label" if threshold is None else "rating")
    guessed = {name: guess_column(frame[name], path) for name in frame.columns if name not in known}
    notes = [*table.notes, *named.notes] + [note for column in guessed.values() for note in column.notes]
    fields, renamed = field_names(frame.columns, known, path)
    notes += [*renamed, *counting_columns(table.frame, list(guessed)), *repeated_rows(frame)]
    notes += [
        note for name, column in guessed.items() if column.kind == "token" for note in list_notes(frame[name])
    ]
    frame = frame.with_columns(column.values for column in guessed.values()).rename(fields)
    types = {field: "token" if field in ("user_id", "item_id") else "float" for field in known.values()}
    types |= {fields[name]: column.kind for name, column in guessed.items()}
    others = {field: guess_source(frame, field) for field in frame.columns if field not in known.values()}
    words = {field: name.replace("_", " ").strip() for name, field in fields.items()}
    text = ["user_id", *_of(others, "user"), "item_id", *_of(others, "item"), *_of(others, "inter")]
    sources = {**dict.fromkeys(known.values(), "inter"), **others}
    words = {field: words[field] for field in text}
    return UserTable(frame, words, sources, types, threshold, len(table.frame), named.facts, notes)


def _of(sources: dict[str, str], source: str) -> list[str]:
    return [field for field, of in sources.items() if of == source]

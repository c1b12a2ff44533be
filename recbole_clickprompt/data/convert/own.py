"""A user's own table of clicks or ratings to atomic files, with guessed sources and types of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.characters import decode
from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.guess import (
    field_names,
    find_threshold,
    guess_source,
    guess_types,
    read_labels,
    read_times,
)
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.convert.unpacking import read_file
from recbole_clickprompt.errors import DataError, nearest

__all__ = ["Columns", "OwnTable", "read_own_table"]

_SOURCES = ("inter", "user", "item")


@dataclass(frozen=True)
class Columns:
    """Names of the user's columns; ``time`` may be missing."""

    user: str
    item: str
    label: str
    time: str | None = None

    def fields(self, *, label: str) -> dict[str, str]:
        """Column: the field that it becomes; the label's is called ``label`` or ``rating``."""
        fields = {self.user: "user_id", self.item: "item_id", self.label: label}
        return {**fields, self.time: "timestamp"} if self.time else fields

    def check(self, table: TextTable) -> None:
        """Raises DataError where they are not different, a table lacks one, or a row lacks an id or a label."""
        asked = [column for column in (self.user, self.item, self.label, self.time) if column]
        if len(set(asked)) < len(asked):
            raise DataError("--user, --item, --label and --time must be four different columns")
        for column in asked:
            if column not in table.frame.columns:
                raise DataError(
                    f"{table.file} has no column {column!r}; there are {', '.join(table.frame.columns)}"
                    f"{nearest(column, table.frame.columns)}"
                )
        table.refuse_missing(self.user, self.item, self.label)


@dataclass(frozen=True)
class OwnTable:
    """What was read and guessed.

    Attributes:
        frame: All rows, a column a field.
        words: Field: the user's name of it, in words; in the order of the text.
        sources: Field: ``inter``, ``user`` or ``item``.
        types: Field: ``token``, ``token_seq`` or ``float``.
        threshold: The label is 1 from this value of ``rating`` on; None where ``label`` is 0 or 1 itself.
    """

    frame: pl.DataFrame
    words: dict[str, str]
    sources: dict[str, str]
    types: dict[str, str]
    threshold: float | None

    def fields(self, source: str) -> list[str]:
        """Fields of a source, the ids first."""
        ids = {"inter": ["user_id", "item_id"], "user": ["user_id"], "item": ["item_id"]}[source]
        return ids + [field for field, of in self.sources.items() if of == source and field not in ids]

    def write(self, folder: Path, name: str) -> int:
        """Writes the atomic files; returns how many long texts were cut."""
        cut = 0
        for source in _SOURCES:
            fields = self.fields(source)
            if source == "inter" or len(fields) > 1:
                frame = self.frame if source == "inter" else self.frame.unique(fields[0], maintain_order=True)
                cut += write_atomic(folder / f"{name}.{source}", frame, {f: self.types[f] for f in fields})
        return cut


def read_own_table(path: Path, columns: Columns, threshold: float | None) -> OwnTable:
    """Reads a csv, tsv or parquet file and guesses what its columns are.

    A column is of the user where every user has one value of it, or of the item where every item has; else it is
    of the row. Numbers of more than 200 values are ``float``, lists ``token_seq``, and all others ``token``.

    Raises:
        DataError: The file or a column of it cannot be used; by line and column.
    """
    table = _read(path)
    columns.check(table)
    labels = read_labels(table, columns.label)
    threshold = find_threshold(table, columns.label, labels, threshold)
    frame = table.frame.with_columns(labels)
    if columns.time:
        frame = frame.with_columns(read_times(table, columns.time))
    known = columns.fields(label="label" if threshold is None else "rating")
    fields = field_names(frame.columns, known, path)
    frame, types = guess_types(frame.rename(fields), path)
    types |= {field: "token" if field in ("user_id", "item_id") else "float" for field in known.values()}
    others = {field: guess_source(frame, field) for field in frame.columns if field not in known.values()}
    words = {field: name.replace("_", " ").strip() for name, field in fields.items()}
    text = ["user_id", *_of(others, "user"), "item_id", *_of(others, "item"), *_of(others, "inter")]
    sources = {**dict.fromkeys(known.values(), "inter"), **others}
    return OwnTable(frame, {field: words[field] for field in text}, sources, types, threshold)


def _of(sources: dict[str, str], source: str) -> list[str]:
    return [field for field, of in sources.items() if of == source]


def _read(path: Path) -> TextTable:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.suffix == ".parquet":
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{path} is no parquet file: {' '.join(str(error).split())}") from error
        return TextTable(_plain(frame), str(path), lambda row: row + 1)
    content = read_file(path)
    text = decode(content, str(path), "utf-8")
    header = text.partition("\n")[0]
    return read_csv(text, str(path), separator=max(",\t;|", key=header.count))


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories as the text that they stand for, arrays as lists, a column of nothing as missing texts."""
    texts = (pl.Categorical, pl.Enum, pl.Null)
    for column, dtype in frame.schema.items():
        plain: pl.DataType = dtype
        if isinstance(dtype, texts):
            plain = pl.String()
        elif isinstance(dtype, pl.List | pl.Array):
            plain = pl.List(pl.String if isinstance(dtype.inner, texts) else dtype.inner)
        frame = frame.with_columns(frame[column].cast(plain))
    return frame

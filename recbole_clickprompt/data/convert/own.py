"""A user's own table of clicks or ratings to atomic files, with guessed sources and types of its columns."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.characters import decode
from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.data.text import number_text
from recbole_clickprompt.errors import DataError, nearest

__all__ = ["Columns", "OwnTable", "read_own_table"]

_SOURCES = ("inter", "user", "item")
_FEW_VALUES = 200  # up to so many, whole numbers are taken for codes: each gets an embedding


@dataclass(frozen=True)
class Columns:
    """Names of the user's columns; ``time`` may be missing."""

    user: str
    item: str
    label: str
    time: str | None = None

    def names(self) -> dict[str, str]:
        """Column: the part that it plays here."""
        names = {self.user: "user_id", self.item: "item_id", self.label: "label"}
        return {**names, self.time: "timestamp"} if self.time else names


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

    A column is of the user where every user has one value of it, else of the item where every item has, else of
    the row. Numbers of more than 200 values are ``float``, lists ``token_seq``, and all others ``token``.

    Raises:
        DataError: The file or a column of it cannot be used; by line and column.
    """
    table = _read(path)
    roles = columns.names()
    if len(roles) < 3 + bool(columns.time):
        raise DataError("--user, --item, --label and --time must be four different columns")
    for name in roles:
        if name not in table.frame.columns:
            raise DataError(
                f"{path} has no column {name!r}; there are {', '.join(table.frame.columns)}"
                f"{nearest(name, table.frame.columns)}"
            )
    table.refuse_missing(columns.user, columns.item, columns.label)
    labels = _labels(table, columns.label)
    threshold = _threshold(table, columns.label, labels, threshold)
    if threshold is not None:
        roles[columns.label] = "rating"
    frame = table.frame.with_columns(labels)
    if columns.time:
        frame = frame.with_columns(_times(table, columns.time))
    fields = _field_names(frame.columns, roles, path)
    frame, types = _typed(frame.rename(fields), path)
    types.update({"user_id": "token", "item_id": "token", fields[columns.label]: "float"})
    if columns.time:
        types["timestamp"] = "float"
    sources = {field: _source(frame, field) for field in frame.columns if field not in roles.values()}
    inter = ["user_id", "item_id", fields[columns.label], *(["timestamp"] if columns.time else [])]
    sources = {**dict.fromkeys(inter, "inter"), **sources}
    words = {field: name.replace("_", " ").strip() for name, field in fields.items()}
    order = ["user_id", *_of(sources, "user"), "item_id", *_of(sources, "item"), *_of(sources, "inter")]
    text = [field for field in order if field not in inter[2:]]
    return OwnTable(frame, {f: words[f] for f in dict.fromkeys(text)}, sources, types, threshold)


def _of(sources: dict[str, str], source: str) -> list[str]:
    return [field for field, of in sources.items() if of == source and field not in ("user_id", "item_id")]


def _read(path: Path) -> TextTable:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.suffix == ".parquet":
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{path} is no parquet file: {' '.join(str(error).split())}") from error
        return TextTable(frame, str(path), lambda row: row + 1)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is cut off or damaged: {error}") from error
    text = decode(content, str(path), "utf-8")
    header = text.partition("\n")[0]
    return read_csv(text, str(path), separator=max(",\t;|", key=header.count))


def _labels(table: TextTable, column: str) -> pl.Series:
    values = table.frame[column]
    if values.dtype == pl.String:
        words = values.str.strip_chars().str.to_lowercase().replace({"true": "1", "false": "0"})
        table = TextTable(table.frame.with_columns(words.alias(column)), table.file, table.line_of)
        return table.with_numbers(pl.Float64, column).frame[column]
    if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        raise DataError(f"{table.file}, column {column}: a label must be a number, got {values.dtype}")
    numbers = values.cast(pl.Float64)
    table.refuse(column, ~numbers.is_finite(), "is no number")
    return numbers


def _threshold(table: TextTable, column: str, labels: pl.Series, threshold: float | None) -> float | None:
    low, high = (number_text(float(end)) for end in labels.sort()[[0, -1]])
    if threshold is None and not labels.is_in([0.0, 1.0]).all():
        if not labels.is_between(0.5, 5).all():
            raise DataError(
                f"{table.file}, column {column}: values from {low} to {high} are no 0 and 1 and no 1 to 5 stars; "
                "say with --threshold from which value on the label is 1"
            )
        threshold = 4.0
    positive = int((labels >= (0.5 if threshold is None else threshold)).sum())
    if not 0 < positive < len(labels):
        raise DataError(
            f"{table.file}, column {column}: {positive} of {len(labels)} rows are positive; both are needed"
        )
    return threshold


def _times(table: TextTable, column: str) -> pl.Series:
    values = table.frame[column]
    table.refuse_missing(column)
    if values.dtype.is_numeric():
        return values
    if values.dtype == pl.String:
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
        if not numbers.is_null().any():
            return values.str.strip_chars().cast(pl.Int64, strict=False) if _whole(values) else numbers
        times = values.str.to_datetime(strict=False, time_unit="ms", time_zone="UTC", ambiguous="null")
        table.refuse(column, times.is_null(), "is no number and no time such as 2024-05-31 12:00:00")
        return times.dt.epoch("s")
    if values.dtype in (pl.Date, pl.Datetime):
        return values.cast(pl.Datetime("ms")).dt.epoch("s")
    raise DataError(f"{table.file}, column {column}: {values.dtype} is no time")


def _whole(values: pl.Series) -> bool:
    return bool(values.str.contains(r"^\s*[-+]?\d+\s*$").all())


def _field_names(names: Iterable[str], roles: dict[str, str], path: Path) -> dict[str, str]:
    """Names that a header of an atomic file can hold."""
    fields = {name: roles.get(name) or re.sub(r"[^\w.-]+", "_", name.strip()) or "column" for name in names}
    for name, field in fields.items():
        same = next((other for other, f in fields.items() if f == field and other != name), None)
        if same is not None:
            raise DataError(f"{path}: columns {same!r} and {name!r} would both be called {field}; rename one")
    return fields


def _typed(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    types = {}
    for field, dtype in frame.schema.items():
        values = frame[field]
        if isinstance(dtype, pl.List):
            if values.list.eval(pl.element().cast(pl.String).str.contains(" ")).list.any().any():
                raise DataError(
                    f"{path}, column {field}: a list with blanks inside its values cannot be kept apart"
                )
            frame = frame.with_columns(values.cast(pl.List(pl.String)).list.join(" "))
            types[field] = "token_seq"
        elif dtype in (pl.Struct, pl.Object, pl.Binary):
            raise DataError(f"{path}, column {field}: {dtype} is no text, number or list; leave it out")
        else:
            types[field] = "float" if _is_float(values) else "token"
            frame = frame.with_columns(values if types[field] == "float" else values.cast(pl.String))
    return frame, types


def _is_float(values: pl.Series) -> bool:
    numbers = values.cast(pl.Float64, strict=False) if values.dtype != pl.Boolean else None
    if numbers is None or values.dtype.is_temporal() or (numbers.is_null() & values.is_not_null()).any():
        return False
    numbers = numbers.drop_nulls()
    return len(numbers) > 0 and bool(numbers.is_finite().all()) and numbers.n_unique() > _FEW_VALUES


def _source(frame: pl.DataFrame, field: str) -> str:
    """Where every user, or every item, has one value of a column, with rows enough to tell."""
    if frame[field].n_unique() == 1:
        return "inter"  # a constant tells nothing of either
    ids = sorted(("user", "item"), key=lambda source: frame[f"{source}_id"].n_unique())
    for source in ids:
        key = f"{source}_id"
        if frame[key].n_unique() < len(frame) and frame.select(key, field).n_unique() == frame[key].n_unique():
            return source
    return "inter"

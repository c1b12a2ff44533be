"""The columns of raw rows: which are required, and their values as in the atomic files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recbole_clickprompt.data.numbers import float_codes, parse_numbers
from recbole_clickprompt.errors import DataError, nearest
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Field

__all__ = ["check_columns", "raw_values", "to_table", "with_field_names"]


def check_columns(
    preprocessing: Preprocessing, columns: Sequence[str], *, source: str, keep: Collection[str] = ()
) -> dict[str, str]:
    """Checks that a table has the columns that the model reads.

    They have the names of the fields, or those of the table that the data set was made of (``column_names``).

    Args:
        preprocessing: The preprocessing of the model.
        columns: The table's columns.
        source: Name of the table in errors.
        keep: Columns that are copied to the output, and need not be fields.

    Returns:
        Column: its field, for ``with_field_names``.

    Raises:
        DataError: A column is missing, unknown or duplicated.
    """
    fields = {name: field for name, field in preprocessing.fields.items() if field.source != "net"}
    clicks = [] if preprocessing.history is None else preprocessing.history.raw
    texts = [] if preprocessing.descriptions is None else preprocessing.descriptions.columns.values()
    known = {*fields, *preprocessing.ignored, *clicks, *texts}
    for name in columns:
        if list(columns).count(name) > 1:
            raise DataError(f"{source} has the column {name!r} twice; remove one")
    ids = _id_columns(preprocessing)
    given, lacking = sorted(ids & {*columns}), sorted(ids - {*columns})
    if given and lacking and given[0] not in known:
        raise DataError(
            f"{source} has the column {given[0]!r}, but no {lacking[0]!r}; give both, or the fields "
            f"{preprocessing.user!r} and {preprocessing.item!r}"
        )
    field_of = _fields_of(preprocessing, columns)
    names = list(field_of.values())
    for column, name in field_of.items():
        if names.count(name) > 1:
            same = ", ".join(repr(other) for other, field in field_of.items() if field == name)
            raise DataError(f"{source} has the columns {same}, all of which are the field {name!r}; remove one")
        if name not in known and column not in keep:
            raise DataError(
                f"{source} has a column {column!r}, which is not a field of {preprocessing.dataset}"
                f"{nearest(name, known)}; the fields are {', '.join(sorted(known))}"
            )
    for name in keep:
        if name not in columns:
            raise DataError(f"{source} has no column {name!r} to keep{nearest(name, columns)}")
    for name in (preprocessing.user, preprocessing.item):
        if name not in names:
            own = next((column for column, field in preprocessing.column_names.items() if field == name), None)
            raise DataError(
                f"{source} has no column {name!r}, the ids of a row{f', or {own!r}' if own else ''}"
                f"{nearest(name, columns)}; its columns are {', '.join(map(repr, columns)) or 'none'}"
            )
    if len({name in names for name in clicks}) > 1:
        raise DataError(
            f"{source} has only one of the columns {' and '.join(clicks)}, a history's items and their labels; "
            "add the other one"
        )
    text = {} if preprocessing.text is None else preprocessing.text.names
    for name, field in fields.items():
        if field.source == "inter" and (field.feature or name in text) and name not in names:
            raise DataError(
                f"{source} has no column {name!r}, which the model reads from the row itself"
                f"{nearest(name, columns)}; add it, with empty values where it is unknown"
            )
    return field_of


def _id_columns(preprocessing: Preprocessing) -> set[str]:
    """The columns of the table, of which the data set was made, that are the ids of user and item."""
    ids = (preprocessing.user, preprocessing.item)
    return {column for column, field in preprocessing.column_names.items() if field in ids}


def _fields_of(preprocessing: Preprocessing, columns: Sequence[str]) -> dict[str, str]:
    """Column: its field, for those that are read; columns of another table have the names of fields."""
    own = preprocessing.column_names
    if not _id_columns(preprocessing) <= {*columns}:
        return {column: column for column in columns}
    fields = {column: own.get(column, column) for column in columns}
    return {column: field for column, field in fields.items() if field is not None}


def with_field_names(table: pa.Table, fields: Mapping[str, str]) -> pa.Table:
    """The columns of a table that are fields, with their names; ``fields`` is the result of ``check_columns``."""
    return table.select(list(fields)).rename_columns(list(fields.values()))


def to_table(rows: pd.DataFrame | pl.DataFrame | pa.Table) -> pa.Table:
    """A pandas, polars or Arrow table as an Arrow table.

    Raises:
        DataError: It is none of these, or a column mixes types.
    """
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pl.DataFrame):
        return rows.to_arrow()
    try:
        return pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(
            f"a column holds numbers that are too large or values of several types: {' '.join(str(error).split())}"
        ) from error
    except (AttributeError, TypeError) as error:
        raise DataError(f"rows must be a DataFrame, got {type(rows).__name__}") from error


def raw_values(values: pa.ChunkedArray, field: Field, separator: str, first_row: int) -> np.ndarray:
    """The values of a column as training read them, ``(N,)``.

    Args:
        values: The raw column.
        field: Its field.
        separator: Separates the values of a sequence.
        first_row: Number of the first of these rows, for errors.

    Returns:
        For a token field str or None; for a float field floats, NaN if missing; for sequences lists of these.

    Raises:
        DataError: A value has the wrong type.
    """
    if isinstance(values.type, pa.DictionaryType):
        values = values.cast(values.type.value_type)
    number, sequence = field.type.startswith("float"), field.type.endswith("_seq")
    if sequence and (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
        rows = [row or [] for row in values.to_pylist()]
    elif sequence:
        texts = _texts(values, field)
        rows = [_split(text or "", separator, field.list_separator) for text in texts]
    else:
        return _numbers(values, field, first_row) if number else _texts(values, field)
    flat = pa.chunked_array([pa.array([v for row in rows for v in row] or pa.array([], pa.string()))])
    parsed = _numbers(flat, field, None) if number else _texts(flat, field)
    ends = np.cumsum([len(row) for row in rows])
    split = np.empty(len(rows), dtype=object)
    split[:] = [parsed[end - len(row) : end].tolist() for row, end in zip(rows, ends, strict=True)]
    return split


def _split(text: str, separator: str, own_separator: str | None) -> list[str]:
    """The elements of a list, as in the atomic files or as in the table that they were made of."""
    if own_separator is None:
        # Split at the separator only, as RecBole does, not at any white space
        return list(filter(None, text.split(separator)))
    elements = text.replace(own_separator, separator).split(separator)
    return list(filter(None, map(str.strip, elements)))


def _texts(values: pa.ChunkedArray, field: Field) -> np.ndarray:
    kind = values.type
    if pa.types.is_floating(kind):
        values = pa.chunked_array([float_codes(pl.Series(pl.from_arrow(values))).to_arrow()])
    elif not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise DataError(f"{field.name} is a {field.type} field and accepts texts, numbers or booleans, got {kind}")
    texts = values.cast(pa.string())
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    found = texts.to_numpy(zero_copy_only=False)
    if not field.unsplit:
        return found
    whole = np.empty(len(found), dtype=object)
    whole[:] = [None if text is None else " ".join(text.split()) or None for text in found]
    return whole


def _numbers(values: pa.ChunkedArray, field: Field, first_row: int | None) -> np.ndarray:
    kind = values.type
    if not _is_text(kind):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
                or pa.types.is_null(kind)):  # fmt: skip
            raise DataError(f"{field.name} is a {field.type} field and accepts numbers, got {kind}")
        # safe=False: integers beyond 2^53 are rounded, as they are if given as text
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    texts = pl.Series(pl.from_arrow(values.cast(pa.string())))
    parsed = parse_numbers(texts)
    if parsed.invalid.any():
        row = parsed.invalid.arg_true()[0]
        where = "" if first_row is None else f" in row {first_row + row}"
        raise DataError(f"{field.name} is a {field.type} field and accepts numbers, got {texts[row]!r}{where}")
    return np.where(parsed.infinite, np.inf, parsed.values.fill_null(np.nan))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)

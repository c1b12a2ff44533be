"""The columns of raw rows: which there must be, and their values as the atomic files have them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recbole_clickprompt.data.numbers import parse_numbers
from recbole_clickprompt.errors import DataError, nearest
from recbole_clickprompt.preprocessing.preprocessing import Field, Preprocessing

__all__ = ["check_columns", "raw_values", "to_table"]


def check_columns(
    preprocessing: Preprocessing, names: Sequence[str], *, source: str, keep: Collection[str] = ()
) -> None:
    """Holds a table's columns to the fields of the training.

    Args:
        preprocessing: Of the model.
        names: The table's columns.
        source: What the table is called in an error.
        keep: Columns that are passed on and need be no fields.

    Raises:
        DataError: A column is missing, unknown or there twice.
    """
    fields = {name: field for name, field in preprocessing.fields.items() if field.source != "net"}
    known = {*fields, *preprocessing.ignored}
    for name in names:
        if list(names).count(name) > 1:
            raise DataError(f"{source} has the column {name!r} twice; leave one out")
        if name not in known and name not in keep:
            raise DataError(
                f"{source} has a column {name!r}, which is no field of {preprocessing.dataset}"
                f"{nearest(name, known)}; known are {', '.join(sorted(known))}"
            )
    for name in keep:
        if name not in names:
            raise DataError(f"{source} has no column {name!r} to keep{nearest(name, names)}")
    for name in (preprocessing.user, preprocessing.item):
        if name not in names:
            raise DataError(
                f"{source} has no column {name!r}, whose ids say which row it is{nearest(name, names)}; "
                f"it holds {', '.join(map(repr, names)) or 'none'}"
            )
    text = {} if preprocessing.text is None else preprocessing.text.names
    for name, field in fields.items():
        if field.source == "inter" and (field.feature or name in text) and name not in names:
            raise DataError(
                f"{source} has no column {name!r}, which the model reads and which is no user's or item's; "
                f"add it{nearest(name, names)}, with nothing in it where it is not known"
            )


def to_table(rows: Any) -> pa.Table:
    """A pandas, polars or Arrow table as Arrow's.

    Raises:
        DataError: It is none of them, or a column mixes types.
    """
    if isinstance(rows, pa.Table):
        return rows
    if hasattr(rows, "to_arrow"):  # polars
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
        values: As they came.
        field: What they are values of.
        separator: Between the values of a sequence.
        first_row: Number of the first of these rows, for errors.

    Returns:
        Of a token field str or None; of a float field floats, NaN where missing and infinity where infinite; of
        sequences lists of these.

    Raises:
        DataError: They are of a wrong type.
    """
    if isinstance(values.type, pa.DictionaryType):
        values = values.cast(values.type.value_type)
    number, sequence = field.type.startswith("float"), field.type.endswith("_seq")
    if sequence and (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
        rows = [row or [] for row in values.to_pylist()]
    elif sequence:
        texts = _texts(values, field)
        # split("\x20") as RecBole does, and not at every white space
        rows = [list(filter(None, (text or "").split(separator))) for text in texts]
    else:
        return _numbers(values, field, first_row) if number else _texts(values, field)
    flat = pa.chunked_array([pa.array([v for row in rows for v in row] or pa.array([], pa.string()))])
    parsed = _numbers(flat, field, None) if number else _texts(flat, field)
    ends = np.cumsum([len(row) for row in rows])
    split = np.empty(len(rows), dtype=object)
    split[:] = [parsed[end - len(row) : end].tolist() for row, end in zip(rows, ends, strict=True)]
    return split


def _texts(values: pa.ChunkedArray, field: Field) -> np.ndarray:
    if not (_is_text(values.type) or pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
        hint = ""
        if pa.types.is_floating(values.type):
            hint = " (pandas makes floats of integers where some are missing: use the type Int64)"
        raise DataError(
            f"{field.name} is a {field.type} field and takes texts or integers, got {values.type}{hint}"
        )
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
            raise DataError(f"{field.name} is a {field.type} field and takes numbers, got {kind}")
        # not safe: an integer beyond 2^53 is rounded, as it is where it comes as text
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    texts = pl.Series(pl.from_arrow(values.cast(pa.string())))
    parsed = parse_numbers(texts)
    if parsed.invalid.any():
        row = parsed.invalid.arg_true()[0]
        where = "" if first_row is None else f" in row {first_row + row}"
        raise DataError(f"{field.name} is a {field.type} field and takes numbers, got {texts[row]!r}{where}")
    return np.where(parsed.infinite, np.inf, parsed.values.fill_null(np.nan))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)

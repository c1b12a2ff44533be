"""Raw rows made of a model's vocabulary, where rows of the data set are not available."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Field

__all__ = ["sample_rows"]

_LISTED = 3  # elements of a list


def sample_rows(preprocessing: Preprocessing, count: int, *, unseen: bool = False) -> pa.Table:
    """Rows with known values of every field in turn; pairs of users and items need not occur in the data.

    Args:
        preprocessing: The preprocessing of a model.
        count: Number of rows.
        unseen: Users and items are new ones, with known values as features.
    """
    columns: dict[str, list[Any]] = {}
    for step, field in enumerate(preprocessing.fields.values(), 1):
        if field.source == "net":
            continue
        if unseen and field.name in (preprocessing.user, preprocessing.item):
            columns[field.name] = [f"new {row}" for row in range(count)]
        else:  # different steps, so that users meet different items
            columns[field.name] = [_value(preprocessing, field, row * step) for row in range(count)]
    if history := preprocessing.history:
        items = preprocessing.fields[preprocessing.item]
        clicks = [
            [_value(preprocessing, items, row + slot) for slot in range(row % _LISTED)] for row in range(count)
        ]
        columns[history.items] = clicks
        if history.labels is not None:
            columns[history.labels] = [[float(slot % 2) for slot in range(len(row))] for row in clicks]
    return pa.table({name: pa.array(values, _type(values)) for name, values in columns.items()})


def _value(preprocessing: Preprocessing, field: Field, number: int) -> Any:
    if field.type.endswith("_seq"):
        return [_element(preprocessing, field, number + place) for place in range(min(_LISTED, field.width))]
    return _element(preprocessing, field, number)


def _element(preprocessing: Preprocessing, field: Field, number: int) -> str | float | None:
    if field.scale is not None:
        return field.scale.missing
    tokens = preprocessing.vocabulary[field.name][1:]  # id 0 is padding
    return str(tokens[number % len(tokens)]) if len(tokens) else None


def _type(values: list[Any]) -> pa.DataType | None:
    """The type of lists of texts also where all are empty; None leaves it to Arrow."""
    return pa.list_(pa.string()) if values and all(value == [] for value in values) else None

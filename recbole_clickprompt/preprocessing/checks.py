"""Consistency checks of a loaded preprocessing; an inconsistent one would give wrong scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recbole_clickprompt.errors import DataError

if TYPE_CHECKING:
    from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
    from recbole_clickprompt.preprocessing.schema import Field, Text

__all__ = ["check_preprocessing", "check_tokens"]

_TYPES = ("token", "token_seq", "float", "float_seq")
_SOURCES = ("user_id", "item_id", "user", "item", "inter", "net")


def check_preprocessing(loaded: Preprocessing) -> None:
    """Raises ValueError if types, shapes or sizes are inconsistent."""
    for name in (loaded.user, loaded.item):
        _require(name in loaded.fields and loaded.fields[name].type == "token", f"{name!r} is not a field of ids")
    _require(all(isinstance(name, str) for name in loaded.ignored), "the names of ignored columns are not strings")
    names = loaded.column_names.items()
    _require(
        all(isinstance(name, str) and isinstance(field, str | None) for name, field in names),
        "the names of the table's columns are not strings",
    )
    _require(set(loaded.vocabulary) <= set(loaded.fields), "the vocabulary contains unknown fields")
    for field in loaded.fields.values():
        _check_field(loaded, field)
    if loaded.history is not None:
        columns = (loaded.history.items, loaded.history.lengths, loaded.history.labels or "")
        _require(all(isinstance(name, str) for name in columns), "the names of history columns are not strings")
        length = loaded.history.length
        _require(isinstance(length, int) and length > 0, "the length of histories is not a positive integer")
    if loaded.descriptions is not None:
        described = [name for fields in loaded.descriptions.names.values() for name in fields]
        _require(set(loaded.descriptions.names) <= {"user", "item"}, "texts of an unknown level")
        _require(set(described) <= set(loaded.fields), "a text has an unknown field")
    if loaded.text is not None:
        _check_text(loaded, loaded.text)


def _check_field(loaded: Preprocessing, field: Field) -> None:
    name, is_token = field.name, field.type.startswith("token")
    _require(field.type in _TYPES and field.source in _SOURCES, f"{name!r} has an unknown type or source")
    _require(isinstance(field.size, int) and isinstance(field.width, int), f"sizes of {name!r} are not integers")
    _require(
        isinstance(field.feature, bool) and isinstance(field.unsplit, bool),
        f"the flags of {name!r} are not booleans",
    )
    separator = field.list_separator
    _require(separator is None or (isinstance(separator, str) and separator), f"{name!r} has an empty separator")
    _require(is_token == (field.scale is None), f"the scale of {name!r} does not fit its type {field.type}")
    if field.scale is not None:
        _require(isinstance(field.scale.missing, int | float), f"the mean of {name!r} is not a number")
    if is_token:
        tokens = loaded.vocabulary[name]
        _require(
            all(isinstance(token, str) for token in tokens), f"the vocabulary of {name!r} contains non-strings"
        )
        _require(
            len(set(tokens)) == len(tokens) == field.size,
            f"the vocabulary of {name!r} does not have {field.size} distinct tokens",
        )
    key = loaded.key(field)
    if key is None:
        return
    table, ids = loaded.tables[name], loaded.fields[key].size
    shape: tuple[int, ...] = (ids,)
    shape += (field.width,) if field.type.endswith("_seq") else ()
    shape += () if is_token or not field.feature else (2,)
    _require(table.shape == shape, f"the table of {name!r} has the shape {table.shape}, not {shape}")
    expected = np.int64 if is_token else np.float32
    _require(table.dtype == expected, f"the table of {name!r} has dtype {table.dtype}, not {np.dtype(expected)}")
    if is_token:
        _require(_within(table, field.size), f"the table of {name!r} contains ids beyond its {field.size} tokens")


def _check_text(loaded: Preprocessing, text: Text) -> None:
    for segment in text.segments:
        name, offsets = segment.key, segment.offsets
        _require(
            set(segment.fields) <= set(text.names), f"the text contains fields without a name: {segment.fields}"
        )
        _require(
            offsets.shape == (loaded.fields[name].size + 1,) and _within(offsets, len(segment.values) + 1),
            f"the token offsets of {name!r} do not fit its ids and tokens",
        )
        _require((np.diff(offsets) >= 0).all(), f"the token offsets of {name!r} decrease")
        counts = segment.values.ndim == 1 and _within(segment.values, 1 << 31)
        _require(counts, f"the tokens of {name!r} are not a list of whole numbers from 0")
    numbers = [*text.prefix, *text.suffix, text.pad_id, text.max_length]
    _require(all(isinstance(number, int) for number in numbers), "special tokens are not integers")


def check_tokens(text: Text, vocabulary: int) -> None:
    """Raises DataError where a text has tokens that a model does not have.

    Args:
        text: Of a preprocessing.
        vocabulary: The number of tokens that the model has.
    """
    stored = [int(segment.values.max()) for segment in text.segments if len(segment.values)]
    largest = max([*stored, *text.prefix, *text.suffix, text.pad_id])
    if largest >= vocabulary or min([*text.prefix, *text.suffix, text.pad_id]) < 0:
        raise DataError(
            f"the preprocessing has tokens up to {largest}, and the model has {vocabulary}; train again"
        )


def _within(values: np.ndarray, end: int) -> bool:
    return values.dtype.kind == "i" and (not values.size or (int(values.min()) >= 0 and int(values.max()) < end))


def _require(condition: object, fault: str) -> None:
    if not condition:
        raise ValueError(fault)

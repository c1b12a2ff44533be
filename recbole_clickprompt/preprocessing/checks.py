"""Whether the parts of a preprocessing fit each other; where they do not, scores would be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recbole_clickprompt.errors import DataError

if TYPE_CHECKING:
    from recbole_clickprompt.preprocessing.preprocessing import Field, Preprocessing, Text

__all__ = ["check_preprocessing", "check_tokens"]

_TYPES = ("token", "token_seq", "float", "float_seq")
_SOURCES = ("user_id", "item_id", "user", "item", "inter", "net")


def check_preprocessing(loaded: Preprocessing) -> None:
    """Raises ValueError where types or sizes are not those that a training wrote."""
    for name in (loaded.user, loaded.item):
        _hold(name in loaded.fields and loaded.fields[name].type == "token", f"{name!r} is no field of ids")
    _hold(all(isinstance(name, str) for name in loaded.ignored), "the ignored columns are no names")
    _hold(set(loaded.vocabulary) <= set(loaded.fields), "the vocabulary holds fields that there are not")
    for field in loaded.fields.values():
        _check_field(loaded, field)
    if loaded.text is not None:
        _check_text(loaded, loaded.text)


def _check_field(loaded: Preprocessing, field: Field) -> None:
    name, is_token = field.name, field.type.startswith("token")
    _hold(field.type in _TYPES and field.source in _SOURCES, f"{name!r} has an unknown type or source")
    _hold(isinstance(field.size, int) and isinstance(field.width, int), f"sizes of {name!r} are no integers")
    _hold(
        isinstance(field.feature, bool) and isinstance(field.unsplit, bool),
        f"{name!r} has no valid feature flag",
    )
    _hold(is_token == (field.scale is None), f"{name!r} of the type {field.type} and its scale do not fit")
    if field.scale is not None:
        _hold(isinstance(field.scale.missing, int | float), f"the mean of {name!r} is no number")
    if is_token:
        tokens = loaded.vocabulary[name]
        _hold(
            all(isinstance(token, str) for token in tokens), f"the vocabulary of {name!r} holds other than texts"
        )
        _hold(
            len(set(tokens)) == len(tokens) == field.size,
            f"the vocabulary of {name!r} has not {field.size} tokens",
        )
    key = loaded.key(field)
    if key is None:
        return
    table, ids = loaded.tables[name], loaded.fields[key].size
    shape: tuple[int, ...] = (ids,)
    shape += (field.width,) if field.type.endswith("_seq") else ()
    shape += () if is_token or not field.feature else (2,)
    _hold(table.shape == shape, f"the table of {name!r} has the shape {table.shape}, not {shape}")
    expected = np.int64 if is_token else np.float32
    _hold(table.dtype == expected, f"the table of {name!r} holds {table.dtype}, not {np.dtype(expected)}")
    if is_token:
        _hold(_within(table, field.size), f"the table of {name!r} holds ids beyond its {field.size} tokens")


def _check_text(loaded: Preprocessing, text: Text) -> None:
    for segment in text.segments:
        name, offsets = segment.key, segment.offsets
        _hold(set(segment.fields) <= set(text.names), f"the text holds fields without a name: {segment.fields}")
        _hold(
            offsets.shape == (loaded.fields[name].size + 1,) and _within(offsets, len(segment.values) + 1),
            f"the token offsets of {name!r} do not fit its ids and tokens",
        )
        _hold((np.diff(offsets) >= 0).all(), f"the token offsets of {name!r} go backwards")
        kinds = segment.values.ndim == 1 and segment.values.dtype.kind == "i"
        _hold(kinds and _within(segment.values, 1 << 31), f"the tokens of {name!r} are no list of counts")
    numbers = [*text.prefix, *text.suffix, text.pad_id, text.max_length]
    _hold(all(isinstance(number, int) for number in numbers), "special tokens are no integers")


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


def _hold(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(what)

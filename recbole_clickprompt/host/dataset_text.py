"""Builds the text of a data set's rows from the values that RecBole has loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from logging import getLogger
from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.text.text import FieldText, Textualizer, list_joiner

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset


__all__ = [
    "add_text_columns", "build_textualizer", "hide_text_columns", "raw_numbers",
    "value_text",
]  # fmt: skip

# Columns of this source are part of batches, but context-aware models do not use them as features
_HIDDEN = FeatureSource.NET


def add_text_columns(dataset: Dataset) -> None:
    """Adds a token column for each number or sequence field of ``.inter`` that is part of the text.

    Text is looked up by id, and RecBole assigns no ids to such values. In the added column, each distinct value
    has an id.

    Raises:
        DataError: A field has the name of an added column.
    """
    for field, column in _text_columns(dataset).items():
        if column in dataset.field2type:
            raise DataError(
                f"text_fields names {field!r}, whose text is stored as {column!r}, but the files of "
                f"{dataset.dataset_name} have a field of this name; rename one of them with rename_fields, or "
                "leave one out"
            )
        joiner = list_joiner(dataset.config["seq_separator"])
        dataset.inter_feat[column] = [value_text(value, joiner) for value in dataset.inter_feat[field]]
        dataset.set_field_property(column, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
        dataset._rest_fields = np.append(dataset._rest_fields, column)


def hide_text_columns(dataset: Dataset) -> None:
    """Hides the added columns from models once ids are assigned, so that they are not used as features."""
    for column in _text_columns(dataset).values():
        dataset.field2source[column] = _HIDDEN


def _text_columns(dataset: Dataset) -> dict[str, str]:
    return {
        field: f"{field}_text"
        for field in dataset.config["text_fields"] or ()
        if dataset.field2source[field] is FeatureSource.INTERACTION
        and dataset.field2type[field] is not FeatureType.TOKEN
    }


def raw_numbers(dataset: Dataset) -> dict[str, np.ndarray]:
    """Values, by id, of number fields of users and items in the text, before RecBole fills and scales them."""
    return {
        field: dataset.field2feats(field)[0][field].to_numpy(copy=True)
        for field in dataset.config["text_fields"] or ()
        if dataset.field2type[field] in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
        and dataset.field2source[field] is not FeatureSource.INTERACTION
    }


def build_textualizer(dataset: Dataset, numbers: Mapping[str, np.ndarray]) -> Textualizer:
    """Builds the text that ``text_fields`` and ``value_labels`` describe.

    Args:
        dataset: A part of the data set after the split.
        numbers: The result of ``raw_numbers``, as the data set's own numbers are scaled.
    """
    words = dataset.config["value_labels"] or {}
    fields = [
        _field_text(dataset, numbers, field, name, {str(k): str(v) for k, v in words.get(field, {}).items()})
        for field, name in dataset.config["text_fields"].items()
    ]
    if unused := [field for field in words if field not in dataset.config["text_fields"]]:
        getLogger().warning(
            f"value_labels has no effect for {', '.join(unused)}, because text_fields does not include it"
        )
    if dataset.config["shuffle_text"]:
        entity_keys = (dataset.uid_field, dataset.iid_field)
        seed = dataset.config["seed"]
        fields = [field.shuffled(seed) if field.key in entity_keys else field for field in fields]
    return Textualizer(fields)


def _field_text(
    dataset: Dataset, numbers: Mapping[str, np.ndarray], field: str, name: str, words: dict[str, str]
) -> FieldText:
    source, tokens = dataset.field2source[field], dataset.field2id_token
    if source in (FeatureSource.USER_ID, FeatureSource.ITEM_ID, FeatureSource.INTERACTION):
        key = _text_columns(dataset).get(field, field)
        _warn_unused(field, words, tokens[key][1:])
        return FieldText.of_ids(name, key, tokens[key], words)
    key = dataset.uid_field if source is FeatureSource.USER else dataset.iid_field
    joiner = list_joiner(dataset.config["seq_separator"])
    if field in numbers:
        texts = [value_text(value, joiner) for value in numbers[field]]
        _warn_unused(field, words, texts)
        return FieldText.of_texts(name, key, texts, words)
    _warn_unused(field, words, tokens[field][1:])
    ids = torch.as_tensor(dataset.field2feats(field)[0][field]).numpy()
    return FieldText.of_id_rows(name, key, tokens[field], ids.reshape(len(ids), -1), words, joiner)


def _warn_unused(field: str, words: Mapping[str, str], values: Iterable[str | None]) -> None:
    found = {value for value in values if value is not None}
    if unused := sorted(words.keys() - found):
        shown = sorted(found)[:8]
        getLogger().warning(
            f"value_labels: no row has {field} {', '.join(map(repr, unused[:8]))}; the values of {field} are "
            f"{', '.join(map(repr, shown))}{', ...' if len(found) > len(shown) else ''}"
        )


def value_text(value: float | np.ndarray, joiner: str = " ") -> str | None:
    """A number, or a sequence of words or numbers, as text; None if it is missing or empty."""
    if isinstance(value, np.ndarray):
        text = joiner.join(v if isinstance(v, str) else number_text(v) for v in value)
        return text or None
    return None if np.isnan(value) else number_text(value)

"""The text of a data set's rows, out of what RecBole keeps of its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_clickprompt.data.text import FieldText, Textualizer, number_text

__all__ = ["build_textualizer", "value_text"]


def build_textualizer(dataset: Any, numbers: Mapping[str, np.ndarray]) -> Textualizer:
    """The sentences that ``text_fields`` and ``value_words`` describe.

    Args:
        dataset: RecBole's, its rows split.
        numbers: Raw values of the number fields of users and items, by id; RecBole's own are scaled.
    """
    words = dataset.config["value_words"] or {}
    fields = [
        _field_text(dataset, numbers, field, name, {str(k): str(v) for k, v in words.get(field, {}).items()})
        for field, name in dataset.config["text_fields"].items()
    ]
    if dataset.config["shuffle_text"]:
        of_entities = (dataset.uid_field, dataset.iid_field)
        seed = dataset.config["seed"]
        fields = [field.shuffled(seed) if field.key in of_entities else field for field in fields]
    return Textualizer(fields)


def _field_text(
    dataset: Any, numbers: Mapping[str, np.ndarray], field: str, name: str, words: dict[str, str]
) -> FieldText:
    source, tokens = dataset.field2source[field], dataset.field2id_token
    if source in (FeatureSource.USER_ID, FeatureSource.ITEM_ID):
        return FieldText.of_ids(name, field, tokens[field], words)
    if source is FeatureSource.INTERACTION:
        key = field if dataset.field2type[field] is FeatureType.TOKEN else f"{field}_text"
        return FieldText.of_ids(name, key, tokens[key], words)
    key = dataset.uid_field if source is FeatureSource.USER else dataset.iid_field
    if field in numbers:
        return FieldText.of_texts(name, key, [value_text(value) for value in numbers[field]], words)
    ids = torch.as_tensor(dataset.field2feats(field)[0][field]).numpy()
    return FieldText.of_id_rows(name, key, tokens[field], ids.reshape(len(ids), -1), words)


def value_text(value: float | np.ndarray) -> str | None:
    """A number, or a sequence of words or numbers, as text; None where it is missing."""
    if isinstance(value, np.ndarray):
        text = " ".join(v if isinstance(v, str) else number_text(v) for v in value)
        return text or None
    return None if np.isnan(value) else number_text(value)

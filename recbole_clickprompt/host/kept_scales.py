"""Scales numbers as an earlier run did: its weights read the same number for the same value.

RecBole scales numbers by the minimum and maximum of the data that it reads, which more rows change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.preprocessing.encoding import scale_of
from recbole_clickprompt.preprocessing.scaling import Scale
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["bin_with", "fill_with", "kept_scales", "normalize_with"]


def kept_scales(config: Settings) -> dict[str, Scale] | None:
    """By number feature, the scale that ``warm_start`` has taken from the earlier run; None without one.

    Raises:
        WeightsError: The scales are not those that a run has saved.
    """
    entries = config["number_scales"]
    if entries is None:
        return None
    try:
        return {name: scale_of(entry) for name, entry in entries.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"number_scales of the checkpoint is no mapping of scales: {error}") from error


def fill_with(dataset: Dataset, scales: dict[str, Scale]) -> None:
    """Replaces missing numbers by the earlier mean."""
    for field in _features(dataset, scales):
        if dataset.field2type[field] is FeatureType.FLOAT:
            for feat in dataset.field2feats(field):
                feat[field] = feat[field].fillna(scales[field].missing)


def normalize_with(dataset: Dataset, scales: dict[str, Scale]) -> None:
    """Scales numbers by the earlier minimum and maximum; those outside get values outside of [0, 1]."""
    for field in _features(dataset, scales):
        for feat in dataset.field2feats(field):
            feat[field] = _mapped(feat[field], scales[field].normalized)


def bin_with(dataset: Dataset, scales: dict[str, Scale]) -> None:
    """Makes numerical features of numbers, in the earlier bins; those outside are in the outermost bins."""
    for field in _features(dataset, scales):
        is_list = dataset.field2type[field] is FeatureType.FLOAT_SEQ
        for feat in dataset.field2feats(field):
            pairs = _mapped(feat[field], scales[field].binned)
            feat[field] = pairs.map(lambda pair: (pair[:, 1], pair[:, 0])) if is_list else pairs.map(list)
        dataset.field2bucketnum[field] = dataset.config["number_scales"][field]["rows"]


def _features(dataset: Dataset, scales: dict[str, Scale]) -> list[str]:
    return [field for field in scales if field in dataset.float_like_fields]


def _mapped(column: pd.Series, change: Callable[[np.ndarray], np.ndarray]) -> pd.Series:
    """A column of numbers or of lists of numbers, all of which are changed together."""
    if column.dtype != object:
        changed = change(column.to_numpy())
        return pd.Series(changed if changed.ndim == 1 else list(changed), index=column.index)
    lengths = column.map(len)
    changed = change(np.concatenate([np.zeros(0), *column]))
    return pd.Series(np.split(changed, np.cumsum(lengths)[:-1]), index=column.index)

"""Which rows, users and items lack a number, recorded before RecBole replaces missing numbers by the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.utils import FeatureType
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["missing_numbers"]


def missing_numbers(dataset: TextDataset) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Masks of missing values, for number fields that have any in a process; to be called before they are filled.

    Returns:
        By field of ``.inter``: one per row, ``(rows,)`` bool; and by field of users and items: one per id,
        ``(ids,)`` bool.
    """
    by_row: dict[str, Tensor] = {}
    by_id: dict[str, Tensor] = {}
    for field in dataset.float_like_fields:
        feat = dataset.field2feats(field)[0]
        mask = _missing(feat[field], dataset.field2type[field])
        if feat is not dataset.inter_feat:
            mask[0] = False  # [PAD] is no user or item
        if any(dataset.row_group.all_gather(bool(mask.any()))):
            (by_row if feat is dataset.inter_feat else by_id)[field] = torch.from_numpy(mask)
    return by_row, by_id


def _missing(values: pd.Series, kind: FeatureType) -> np.ndarray:
    if kind is FeatureType.FLOAT:
        return values.isna().to_numpy(copy=True)
    return np.array([isinstance(value, float) or len(value) == 0 for value in values], dtype=bool)

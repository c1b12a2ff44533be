"""Assigns ids to tokens of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["remap_ids"]


def remap_ids(dataset: Dataset, columns: Sequence[tuple[pd.DataFrame, str, FeatureType]]) -> None:
    """Replaces tokens by ids from 1, as RecBole's ``Dataset._remap`` does.

    RecBole stores the tokens of a field in a fixed-width array, so one long title among a million items would take
    terabytes. Here the array contains Python strings.

    Args:
        dataset: The data set, in which the tokens of each id are stored.
        columns: Table, field and type of one or more columns that share their ids.
    """
    tokens, borders = dataset._concat_remaped_tokens(columns)
    codes, values = pd.factorize(tokens)
    id_token = np.array(["[PAD]", *values], dtype=object)
    token_id = {token: i for i, token in enumerate(id_token)}
    for (table, field, kind), ids in zip(columns, np.split(codes + 1, borders), strict=True):
        dataset.field2id_token.setdefault(field, id_token)
        dataset.field2token_id.setdefault(field, token_id)
        lengths = table[field].map(len) if kind is FeatureType.TOKEN_SEQ else None
        rows = ids if lengths is None else np.split(ids, np.cumsum(lengths)[:-1])
        table[field] = pd.Series(rows, index=table.index)

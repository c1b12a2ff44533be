"""Ids of tokens, which may be of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

__all__ = ["remap_ids"]


def remap_ids(dataset: Any, columns: Sequence[tuple[pd.DataFrame, str, FeatureType]]) -> None:
    """Puts ids from 1 on in the place of tokens, as RecBole's ``Dataset._remap`` does.

    RecBole keeps the tokens of a field in a table as wide as the longest; one long title among a million would
    take terabytes.

    Args:
        dataset: RecBole's, which takes the tokens of each id.
        columns: Table, field and type of the columns that share their ids, one or more.
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

"""Assigns ids to tokens of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_clickprompt.distributed import ProcessGroup

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["remap_ids", "remap_ids_of_shares"]


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


def remap_ids_of_shares(
    dataset: Dataset,
    columns: Sequence[tuple[pd.DataFrame, str, FeatureType]],
    group: ProcessGroup,
    files: Sequence[int],
) -> None:
    """Assigns the ids of ``remap_ids`` where each process has consecutive rows of the interaction files.

    An id is the place of a token among the distinct ones in the order of all rows. In that order, each process in
    turn sends the tokens that are new::

        file 1, process 0   a b a c      sends a b c      a 1, b 2, c 3
        file 1, process 1   c d a        sends d          d 4
        file 2, process 0   e d          sends e          e 5

    Args:
        dataset: As for ``remap_ids``.
        columns: As for ``remap_ids``; those of users and items are equal in all processes.
        group: The processes that share the rows.
        files: How many rows this process has of each interaction file.
    """
    ids: dict[str, int] = {}
    for table, field, kind in columns:
        is_shared = table is dataset.inter_feat
        starts = np.cumsum(files)[:-1] if is_shared else np.zeros(0, dtype=np.int64)
        rows = [
            _assign_ids(tokens, ids, group if is_shared else None)
            for tokens in np.split(*_flat(table[field], kind, starts))
        ]
        table[field] = _unflat(np.concatenate(rows), table[field], kind)
    id_token = np.array(["[PAD]", *ids], dtype=object)
    token_id = {token: i for i, token in enumerate(id_token)}
    for _, field, _ in columns:
        dataset.field2id_token.setdefault(field, id_token)
        dataset.field2token_id.setdefault(field, token_id)


def _flat(column: pd.Series, kind: FeatureType, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all rows, one after the other, and the places among them where the rows ``starts`` begin."""
    if kind is FeatureType.TOKEN:
        return column.to_numpy(), starts
    places = np.cumsum([0, *column.map(len)])
    return np.concatenate([np.zeros(0, dtype=object), *column]), places[starts]


def _unflat(ids: np.ndarray, column: pd.Series, kind: FeatureType) -> pd.Series:
    if kind is FeatureType.TOKEN:
        return pd.Series(ids, index=column.index)
    rows = np.split(ids, np.cumsum(column.map(len))[:-1]) if len(column) else []
    return pd.Series(rows, index=column.index, dtype=object)


def _assign_ids(tokens: np.ndarray, ids: dict[str, int], group: ProcessGroup | None) -> np.ndarray:
    """The ids of tokens, ``(tokens,)``; those that have none get the next ones, of one process after the other."""
    codes, values = pd.factorize(tokens)
    for rank in range(group.world if group else 1):
        new = [value for value in values if value not in ids] if group is None or rank == group.rank else []
        for value in group.broadcast_object(new, rank) if group else new:
            ids[value] = len(ids) + 1
    found = np.array([*(ids[value] for value in values), 0], dtype=np.int64)
    return found[codes]  # the code of a missing token is -1, and its id 0

"""Embeddings of ids and values that occur in no training row: they stay random and carry no information."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_clickprompt.embeddings.table import ShardedTable

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset
    from recbole.model.abstract_recommender import ContextRecommender

__all__ = ["token_embedding_tables", "unseen_values", "zero_rows", "zero_unseen_rows"]


@torch.no_grad()
def zero_unseen_rows(model: ContextRecommender, datasets: Sequence[Dataset], *, but: Collection[str] = ()) -> int:
    """Sets the rows of a backbone's tables to zero whose ids or values occur in no training row.

    Training does not change such rows, so they would add random numbers to the scores of later users and items.
    Row 0 of each field, which represents all unknown values, is one of them. Fields with sequences are unchanged.

    Args:
        model: A context-aware RecBole model, changed in place.
        datasets: Data sets on whose rows the model is trained; ids in the ``known_ids`` of one count as trained.
        but: Fields to leave unchanged.

    Returns:
        Number of ids and values set to zero, over all fields.
    """
    if not model.token_field_names:
        return 0
    unseen = torch.cat(
        [
            torch.zeros(size, dtype=torch.bool) if field in but else unseen_values(datasets, field, size)
            for field, size in zip(model.token_field_names, model.token_field_dims, strict=True)
        ]
    )
    zero_rows(model, unseen)
    return int(unseen.sum())


@torch.no_grad()
def zero_rows(model: ContextRecommender, rows: Tensor) -> None:
    """Sets rows of the tables of all ``token`` fields to zero.

    Args:
        model: A context-aware RecBole model, changed in place.
        rows: True at these rows, ``(sum of token_field_dims,)``.
    """
    for table in token_embedding_tables(model):
        if isinstance(table, ShardedTable):
            table.set_zero(rows)
        else:
            table.weight[rows.to(table.weight.device)] = 0.0


def token_embedding_tables(model: ContextRecommender) -> Iterator[nn.Embedding | ShardedTable]:
    """The embedding tables of a backbone that contain all ``token`` fields, field after field.

    Row ``token_field_offsets[i] + id`` of such a table is the embedding of an id of field i.
    """
    size = sum(model.token_field_dims)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | ShardedTable) and module.num_embeddings == size and "seq" not in name:
            yield module


def unseen_values(datasets: Sequence[Dataset], field: str, size: int) -> Tensor:
    """True at values of a field that no process has a row with, and no earlier run was trained on, ``(size,)``."""
    seen = torch.zeros(size, dtype=torch.int32)
    for dataset in datasets:
        own = torch.zeros(size, dtype=torch.int32)
        own[_values(dataset, field).long()] = 1
        seen += dataset.row_group.total(own)
        if field in dataset.known_ids:
            seen[dataset.known_ids[field]] = 1
    return seen == 0


def _values(dataset: Dataset, field: str) -> Tensor:
    """Values of a field in all rows of a data set, ``(rows,)``, joined from users or items if it is theirs."""
    rows = dataset.inter_feat
    if field in rows:
        return rows[field]
    if dataset.user_feat is not None and field in dataset.user_feat:
        features, ids = dataset.user_feat, dataset.uid_field
    else:
        features, ids = dataset.item_feat, dataset.iid_field
    return features[field][rows[ids]]

"""Ids and values that training never saw: their embeddings are still random, so they carry no information."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["token_embedding_tables", "zero_unseen_rows"]


@torch.no_grad()
def zero_unseen_rows(model: Any, datasets: Sequence[Any], *, but: Collection[str] = ()) -> int:
    """Sets table rows of a backbone to zero whose ids or values occur in no training row.

    Training does not change such rows, so they would add random numbers to the scores of later users and items.
    Row 0 of each field, which stands for all unknown values, is one of them. Fields with sequences are unchanged.

    Args:
        model: A context-aware model of RecBole's kind.
        datasets: RecBole's, whose rows the model is trained on.
        but: Fields to leave unchanged.

    Returns:
        Number of ids and values set to zero, over all fields.
    """
    if not model.token_field_names:
        return 0
    unseen = torch.cat(
        [
            torch.zeros(size, dtype=torch.bool) if field in but else _unseen(datasets, field, size)
            for field, size in zip(model.token_field_names, model.token_field_dims, strict=True)
        ]
    )
    for table in token_embedding_tables(model):
        table.weight[unseen.to(table.weight.device)] = 0.0
    return int(unseen.sum())


def token_embedding_tables(model: Any) -> Iterator[nn.Embedding]:
    """The tables of a backbone that contain all fields with one value per row, field after field."""
    size = sum(model.token_field_dims)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == size and "seq" not in name:
            yield module


def _unseen(datasets: Sequence[Any], field: str, size: int) -> Tensor:
    """True at values of a field that occur in no row, ``(size,)``."""
    unseen = torch.ones(size, dtype=torch.bool)
    for dataset in datasets:
        unseen[_values(dataset, field).long()] = False
    return unseen


def _values(dataset: Any, field: str) -> Tensor:
    """Values of a field in the rows of a data set, or in those of their users or items."""
    rows = dataset.inter_feat
    if field in rows:
        return rows[field]
    if dataset.user_feat is not None and field in dataset.user_feat:
        features, ids = dataset.user_feat, dataset.uid_field
    else:
        features, ids = dataset.item_feat, dataset.iid_field
    return features[field][rows[ids]]

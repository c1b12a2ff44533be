"""Ids and values that training never saw: what their embeddings hold is as they were drawn, and tells nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["id_tables", "zero_unseen"]


@torch.no_grad()
def zero_unseen(model: Any, datasets: Sequence[Any], *, but: Collection[str] = ()) -> int:
    """Sets the rows of a backbone's tables to zero whose ids or values none of the training rows has.

    Training leaves such rows as they are, and adds what chance drew to the scores of users and items that come
    later. Row 0 of each field, which stands for any value unheard of, is one of them. Fields that hold sequences
    are left alone.

    Args:
        model: A context-aware model of RecBole's kind.
        datasets: RecBole's, whose rows the model is trained on.
        but: Fields to leave alone.

    Returns:
        How many ids and values, over all fields.
    """
    if not model.token_field_names:
        return 0
    unseen = torch.cat(
        [
            torch.zeros(size, dtype=torch.bool) if field in but else _unseen(datasets, field, size)
            for field, size in zip(model.token_field_names, model.token_field_dims, strict=True)
        ]
    )
    for table in id_tables(model):
        table.weight[unseen.to(table.weight.device)] = 0.0
    return int(unseen.sum())


def id_tables(model: Any) -> Iterator[nn.Embedding]:
    """The tables of a backbone in which all fields with one value a row lie, one behind the other."""
    size = sum(model.token_field_dims)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == size and "seq" not in name:
            yield module


def _unseen(datasets: Sequence[Any], field: str, size: int) -> Tensor:
    """True at values of a field that come in no row, ``(size,)``."""
    unseen = torch.ones(size, dtype=torch.bool)
    for dataset in datasets:
        unseen[_values(dataset, field).long()] = False
    return unseen


def _values(dataset: Any, field: str) -> Tensor:
    """Values of a field in the rows of a data set, or in those of their users or items."""
    rows = dataset.inter_feat
    if field in rows:
        return rows[field]
    of_users = dataset.user_feat is not None and field in dataset.user_feat
    features, ids = (dataset.user_feat, dataset.uid_field) if of_users else (dataset.item_feat, dataset.iid_field)
    return features[field][rows[ids]]

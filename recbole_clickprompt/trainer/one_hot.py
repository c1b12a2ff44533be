"""The rows of a data set as a sparse matrix, with one column per value of each feature field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from recbole.utils import FeatureSource, FeatureType
from scipy.sparse import csr_matrix, hstack

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["feature_fields", "one_hot"]

_SOURCES = [
    FeatureSource.INTERACTION, FeatureSource.USER, FeatureSource.USER_ID, FeatureSource.ITEM, FeatureSource.ITEM_ID
]  # fmt: skip
_NUMBERS = (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)


def feature_fields(dataset: Dataset) -> list[str]:
    """The fields that RecBole's context-aware models read as features."""
    return [
        field
        for field in dataset.fields(source=_SOURCES)
        if field != dataset.label_field
        and (dataset.field2type[field] not in _NUMBERS or field in dataset.config["numerical_features"])
    ]


def one_hot(dataset: Dataset, fields: list[str]) -> csr_matrix:
    """The features of all rows.

    Each token has its own column, as has a missing one; each token of a sequence is counted once; a number is
    the value of a column, which is that of its bin with ``discretization``. Sequences of numbers are averaged.

    Args:
        dataset: A part of the data set after the split.
        fields: The result of ``feature_fields``.

    Returns:
        ``(rows, columns)`` float64; parts of one data set have the same columns.
    """
    blocks = []
    for field in fields:
        feat = dataset.field2feats(field)[0]
        block = _block(feat[field].numpy(), dataset.field2type[field], int(dataset.num(field)))
        if feat is not dataset.inter_feat:
            key = dataset.uid_field if feat is dataset.user_feat else dataset.iid_field
            block = block[dataset.inter_feat[key].numpy()]
        blocks.append(block)
    return hstack(blocks, format="csr")


def _block(values: np.ndarray, kind: FeatureType, width: int) -> csr_matrix:
    """The columns of one field for E rows, users or items: ``(E, width)``.

    Args:
        values: ``(E,)`` ids, ``(E, length)`` ids with 0 as padding, ``(E, 2)`` pairs of a number and its column,
            or ``(E, length, 2)`` such pairs, with column 0 as padding.
        kind: Type of the field.
        width: Number of columns.
    """
    count = len(values)
    if kind is FeatureType.TOKEN:
        return csr_matrix((np.ones(count), values, np.arange(count + 1)), shape=(count, width))
    if kind is FeatureType.FLOAT:
        columns = values[:, 1].astype(np.int64)
        return csr_matrix((values[:, 0].astype(np.float64), columns, np.arange(count + 1)), shape=(count, width))
    columns = (values if kind is FeatureType.TOKEN_SEQ else values[..., 1]).astype(np.int64)
    used = columns != 0
    rows = np.nonzero(used)[0]
    if kind is FeatureType.TOKEN_SEQ:
        block = csr_matrix((np.ones(len(rows)), (rows, columns[used])), shape=(count, width))
        block.sum_duplicates()
        block.data[:] = 1.0
        return block
    shares = values[..., 0][used] / used.sum(axis=1)[rows]
    return csr_matrix((shares.astype(np.float64), (rows, columns[used])), shape=(count, width))

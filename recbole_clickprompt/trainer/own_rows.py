"""Batches of a data set whose rows several processes share.

All processes have equally many batches. Of each batch a process has a share that is proportional to its rows, so
it passes through its rows once per epoch, in step with the others::

    rows          process 0: 10    process 1: 5    batches of 6 rows, of 15
    batch 0       0 1 2 3          0 1
    batch 1       4 5 6 7          2 3
    batch 2       8 9              4

With very unequal shares a process may have no row of a batch. It then computes a row of padding, which is not
counted, since some layers need all processes to take part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

__all__ = ["OwnRows", "OwnRowsEvalLoader", "OwnRowsLoader", "RowCounts"]


class RowCounts(tuple[int, ...]):
    """How many rows of a batch each process has, by rank."""


class OwnRows:
    """The rows of this process in each batch.

    Args:
        dataset: A part of the split; all processes create it.
        size: Rows per batch over all processes; rounding can change it by as many rows as there are processes.
    """

    def __init__(self, dataset: Dataset, size: int) -> None:
        self._dataset, self._size = dataset, size
        self._rows: list[int] = dataset.row_group.all_gather(len(dataset))

    def __len__(self) -> int:
        return math.ceil(sum(self._rows) / self._size)

    def counts(self, number: int) -> RowCounts:
        """The rows of each process in a batch."""
        return RowCounts(end - begin for begin, end in (self._bounds(number, rows) for rows in self._rows))

    def read(self, number: int, order: Tensor | None = None) -> Interaction:
        """This process's rows of a batch, or one row of padding if it has none.

        Args:
            number: Of the batch, from 0.
            order: Row numbers of this process in the order of the epoch, ``(rows,)``; None: that of the data set.
        """
        begin, end = self._bounds(number, len(self._dataset))
        if begin == end:
            return _padding(self._dataset)
        return self._dataset[torch.arange(begin, end) if order is None else order[begin:end]]

    def _bounds(self, number: int, rows: int) -> tuple[int, int]:
        total = sum(self._rows)
        begin, end = (rows * min(place * self._size, total) // total for place in (number, number + 1))
        return begin, end


def _padding(dataset: Dataset) -> Interaction:
    """A row of zeros, which are the ids of padding, joined with the features of users and items."""
    columns = dataset.inter_feat.interaction.items()
    return dataset.join(Interaction({name: column.new_zeros(1, *column.shape[1:]) for name, column in columns}))


class OwnRowsLoader:
    """Replaces RecBole's training loader.

    Args:
        loader: RecBole's, whose order of rows, random numbers and batch size it has.
    """

    def __init__(self, loader: AbstractDataLoader) -> None:
        self._loader = loader
        self._own = OwnRows(loader._dataset, loader._batch_size)

    def __iter__(self) -> Iterator[Any]:
        dataset = self._loader._dataset
        order = torch.randperm(len(dataset), generator=self._loader.generator) if self._loader.shuffle else None
        for number in range(len(self)):
            yield self._loader.transform(dataset, self._own.read(number, order))

    def __len__(self) -> int:
        return len(self._own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def share(self, number: int) -> float:
        """The share of a batch, whose number counts from 0, that this process has."""
        counts = self._own.counts(number)
        return counts[self._loader._dataset.row_group.rank] / sum(counts)


class OwnRowsEvalLoader(OwnRowsLoader):
    """Replaces RecBole's loader of validation or test rows; ``RowCounts`` come with each batch."""

    def __iter__(self) -> Iterator[tuple[Interaction, RowCounts, None, None]]:
        for number, rows in enumerate(super().__iter__()):
            yield rows, self._own.counts(number), None, None

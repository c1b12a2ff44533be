"""A loader of examples that are not rows of the data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

__all__ = ["ExampleLoader"]


class ExampleLoader(DataLoader):
    """Batches of a collection of examples, shuffled by a generator of its own as RecBole's loaders are.

    Args:
        examples: Has ``__len__``, and ``__getitem__``, which maps an array of numbers to an ``Interaction``.
        batch_size: Examples per batch; the last one may have fewer.
        shuffle: Whether each epoch has another order.
        seed: Of the generator.
    """

    def __init__(self, examples: Any, *, batch_size: int, shuffle: bool, seed: int) -> None:
        # Names of RecBole's loaders, which the training loop reads
        self._dataset, self._batch_size = examples, batch_size
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            range(len(examples)),  # type: ignore[arg-type] # a sequence of numbers
            batch_size=batch_size,
            shuffle=shuffle,
            collate_fn=lambda numbers: examples[np.asarray(numbers)],
            generator=generator,
        )

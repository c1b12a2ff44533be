"""Training rows in parts of an epoch, so that a model is validated several times per pass over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.dataloader.general_dataloader import TrainDataLoader

from recbole_clickprompt.trainer.sampling import rows_of

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.interaction import Interaction

__all__ = ["EpochParts"]


class EpochParts:
    """RecBole's training loader, of which one iteration is a part of an epoch.

    The order of an epoch is determined by the seed and the epoch's number alone, so that a resumed run knows it::

        batches of epoch 0   | 0 1 2 | 3 4 5 | 6 7 |       batches of epoch 1   | 0 1 2 | ...
        part number              0       1      2                                   3

    Args:
        config: Settings of the run.
        loader: Of the training rows.
        parts: Parts of an epoch; none is empty.
    """

    def __init__(self, config: Config, loader: AbstractDataLoader, parts: int) -> None:
        self._config, self._whole = config, loader
        self.parts = min(parts, len(loader))
        self._loader = loader

    def begin(self, number: int) -> None:
        """Makes the next iterations those of a part, counted from 0 over all epochs."""
        epoch, part = divmod(number, self.parts)
        dataset, size = self._whole._dataset, self._whole._batch_size
        order = torch.arange(len(dataset))
        if self._config["shuffle"]:
            order = torch.randperm(
                len(dataset), generator=torch.Generator().manual_seed(self._config["seed"] + epoch)
            )
        batches = torch.arange(len(self._whole)).tensor_split(self.parts)[part]
        rows = order[int(batches[0]) * size : (int(batches[-1]) + 1) * size]
        self._loader = TrainDataLoader(self._config, rows_of(dataset, rows), self._whole._sampler, shuffle=False)

    def __iter__(self) -> Iterator[Interaction]:
        return iter(self._loader)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

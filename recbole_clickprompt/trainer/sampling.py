"""Which rows are trained on: samples for shorter pretraining and studies of few labels."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.dataloader import TrainDataLoader
from torch import Tensor

from recbole_clickprompt.errors import SettingError

__all__ = ["finetuning_loader", "sample", "sampled_rows"]


def sample(config: Any, dataset: Any, setting: str) -> Any:
    """The data set with as many of its rows as a setting says, in the order they have there.

    The seed draws one order of all rows and a sample is its beginning: a smaller one is part of a larger one, and
    ``train_rows`` and ``pretrain_rows`` of equal numbers are the same rows.

    Args:
        config: Of the run.
        dataset: The training part.
        setting: ``train_rows`` or ``pretrain_rows``.

    Raises:
        SettingError: There are fewer rows.
    """
    if config[setting] is None:
        return dataset
    drawn = sampled_rows(config, len(dataset), setting)
    part = dataset.copy(dataset.inter_feat[drawn])
    part.times = None if dataset.times is None else dataset.times[drawn]
    return part


def sampled_rows(config: Any, rows: int, setting: str) -> Tensor:
    """Row numbers of a sample, ascending, ``(S,)``; see ``sample``.

    Args:
        config: Of the run.
        rows: To draw from.
        setting: ``train_rows`` or ``pretrain_rows``; not None.
    """
    size = config[setting]
    if size > rows:
        raise SettingError(
            f"{setting} is {size}, but there are {rows} rows to draw from; leave it out to take all"
        )
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(config["seed"]))
    return order[:size].sort().values


def finetuning_loader(config: Any, train_data: Any) -> Any:
    """RecBole's training loader, or one of ``train_rows`` rows of it."""
    if config["train_rows"] is None:
        return train_data
    part = sample(config, train_data._dataset, "train_rows")
    return TrainDataLoader(config, part, train_data._sampler, shuffle=config["shuffle"])

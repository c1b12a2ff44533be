"""Which rows are trained on: samples for shorter pretraining and studies of few labels."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.dataloader import TrainDataLoader

from recbole_clickprompt.errors import SettingError

__all__ = ["finetuning_loader", "sample"]


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
    rows, there = config[setting], len(dataset)
    if rows is None:
        return dataset
    if rows > there:
        raise SettingError(
            f"{setting} is {rows}, but there are {there} rows to draw from; leave it out to take all"
        )
    order = torch.randperm(there, generator=torch.Generator().manual_seed(config["seed"]))
    drawn = order[:rows].sort().values
    part = dataset.copy(dataset.inter_feat[drawn])
    part.times = None if dataset.times is None else dataset.times[drawn]
    return part


def finetuning_loader(config: Any, train_data: Any) -> Any:
    """RecBole's training loader, or one of ``train_rows`` rows of it."""
    if config["train_rows"] is None:
        return train_data
    part = sample(config, train_data._dataset, "train_rows")
    return TrainDataLoader(config, part, train_data._sampler, shuffle=config["shuffle"])

"""Random samples of the training rows, for shorter pretraining and studies with few labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from recbole.data.dataloader import TrainDataLoader
from torch import Tensor

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

__all__ = ["finetuning_loader", "sample", "sampled_rows"]


def sample(config: Settings, dataset: Dataset, setting: str) -> Dataset:
    """A random sample of a data set's rows, in their original order.

    The sample is the beginning of a permutation drawn by the seed, so a smaller sample is a subset of a larger
    one, and equal values of ``train_rows`` and ``pretrain_rows`` select the same rows.

    Args:
        config: Settings of the run.
        dataset: The training part.
        setting: The name of the setting with the number of rows: ``train_rows`` or ``pretrain_rows``. If it is
            None, the result is the whole data set.

    Raises:
        SettingError: There are fewer rows.
    """
    if config[setting] is None:
        return dataset
    drawn = sampled_rows(config, len(dataset), setting)
    part = dataset.copy(dataset.inter_feat[drawn])
    part.times = None if dataset.times is None else dataset.times[drawn]
    part.missing_rows = {field: mask[drawn] for field, mask in dataset.missing_rows.items()}
    return part


def sampled_rows(config: Settings, rows: int, setting: str) -> Tensor:
    """Row numbers of a sample, ascending, ``(S,)``; see ``sample``.

    Args:
        config: Settings of the run.
        rows: The number of rows to sample from.
        setting: ``train_rows`` or ``pretrain_rows``; not None.

    Raises:
        SettingError: There are fewer rows.
    """
    size = config[setting]
    if size > rows:
        raise SettingError(f"{setting} is {size}, but there are only {rows} rows; leave it out to use all of them")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(config["seed"]))
    return order[:size].sort().values


def finetuning_loader(config: Config, train_data: AbstractDataLoader) -> AbstractDataLoader:
    """RecBole's training loader, or a loader of a sample of ``train_rows`` of its rows."""
    if config["train_rows"] is None:
        return train_data
    part = sample(config, train_data._dataset, "train_rows")
    return TrainDataLoader(config, part, train_data._sampler, shuffle=config["shuffle"])

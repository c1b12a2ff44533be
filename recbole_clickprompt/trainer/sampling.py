"""Random samples of the training rows, for shorter pretraining and studies with few labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from recbole.data.dataloader import TrainDataLoader
from torch import Tensor

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.own_rows import OwnRowsLoader

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

__all__ = ["finetuning_loader", "rows_of", "sample", "sample_negatives", "sampled_rows"]


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
    return rows_of(dataset, sampled_rows(config, len(dataset), setting))


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
    """RecBole's training loader, or a loader of a sample of its rows: ``train_rows``, ``train_negatives``.

    Where processes share the rows, a loader of those of this process.
    """
    if train_data._dataset.shares_rows:
        return OwnRowsLoader(train_data)
    if config["train_rows"] is None and config["train_negatives"] == 1:
        return train_data
    part = sample_negatives(config, sample(config, train_data._dataset, "train_rows"))
    return TrainDataLoader(config, part, train_data._sampler, shuffle=config["shuffle"])


def sample_negatives(config: Settings, dataset: Dataset) -> Dataset:
    """A share of ``train_negatives`` of a data set's rows with label 0, and all with label 1, in their order.

    As in ``sample``, the rows are drawn by the seed, and a smaller share is a subset of a larger one.
    """
    if config["train_negatives"] == 1:
        return dataset
    labels = dataset.inter_feat[dataset.label_field]
    drawn = torch.rand(len(labels), generator=torch.Generator().manual_seed(config["seed"]))
    kept = ((labels > 0) | (drawn < config["train_negatives"])).nonzero().squeeze(1)
    return rows_of(dataset, kept)


def rows_of(dataset: Dataset, rows: Tensor) -> Dataset:
    """The rows of a data set with these numbers, ``(S,)``, as a data set."""
    part = dataset.copy(dataset.inter_feat[rows])
    part.times = None if dataset.times is None else dataset.times[rows]
    part.missing_rows = {field: mask[rows] for field, mask in dataset.missing_rows.items()}
    return part

"""A split for cold-start studies: the parts have no user, or no item, in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recbole_clickprompt.errors import DataError, SettingError

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["cold_start_parts"]


def cold_start_parts(dataset: TextDataset) -> list[torch.Tensor]:
    """Splits rows into training, validation and test part by their user or item ids, as ``cold_start`` says.

    The ids that occur in rows are shuffled by the seed and split in the proportions of ``eval_args``; each row
    belongs to the part of its id.

    Args:
        dataset: The data set, with its rows as tensors.

    Returns:
        Ascending row numbers of each part, ``(rows,)``.

    Raises:
        SettingError: ``eval_args`` or ``benchmark_filename`` requires another split.
        DataError: ``cold_start`` is not the field of users or items, or there are fewer ids than parts.
    """
    config = dataset.config
    field, eval_args = config["cold_start"], config["eval_args"]
    if field not in (dataset.uid_field, dataset.iid_field):
        raise DataError(
            f"cold_start must be the id field of users or items, {dataset.uid_field} or {dataset.iid_field}, "
            f"got {field!r}"
        )
    if dataset.benchmark_filename_list is not None:
        raise SettingError(
            "cold_start cannot split data that benchmark_filename has already split; leave out one of the two"
        )
    if "RS" not in eval_args["split"] or eval_args.get("group_by") not in (None, "none"):
        raise SettingError(
            "cold_start splits ids in proportions; it requires eval_args with split: {RS: [8, 1, 1]} and "
            f"group_by: ~, got {eval_args}"
        )
    ids = dataset.inter_feat[field]
    distinct = dataset.row_group.total(torch.bincount(ids, minlength=dataset.num(field))).nonzero().squeeze(1)
    ratios = torch.tensor(eval_args["split"]["RS"], dtype=torch.double)
    ends = (len(distinct) * ratios.cumsum(0) / ratios.sum()).round().long()
    sizes = ends.diff(prepend=torch.zeros(1, dtype=torch.long))
    if bool(((sizes == 0) & (ratios > 0)).any()):
        raise DataError(
            f"cold_start: {dataset.dataset_name} has {len(distinct)} values of {field}, too few for a split of "
            f"{eval_args['split']['RS']}"
        )
    order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(config["seed"]))
    part = torch.empty(int(distinct.max()) + 1, dtype=torch.long)  # part of each id
    part[distinct[order]] = torch.arange(len(sizes)).repeat_interleave(sizes)
    return [torch.nonzero(part[ids] == number).squeeze(1) for number in range(len(sizes))]

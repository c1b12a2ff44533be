"""A split for studies of cold start: parts of the rows that share no user, or no item."""

from __future__ import annotations

from typing import Any

import torch

from recbole_clickprompt.errors import DataError, SettingError

__all__ = ["cold_start_parts"]


def cold_start_parts(dataset: Any) -> list[torch.Tensor]:
    """Rows of the training, validation and test part, whose users or items, as ``cold_start`` says, differ.

    The seed deals out the ids that have rows, in the shares of ``eval_args``'s split. A row goes where its id is.

    Args:
        dataset: RecBole's, with its rows as tensors.

    Returns:
        Row numbers, ascending, of each part, ``(rows,)``.

    Raises:
        SettingError: ``eval_args`` or ``benchmark_filename`` ask for another split.
        DataError: ``cold_start`` names no user and no item, or there are fewer ids than parts.
    """
    config = dataset.config
    field, eval_args = config["cold_start"], config["eval_args"]
    if field not in (dataset.uid_field, dataset.iid_field):
        raise DataError(
            f"cold_start must be the id of users or of items, {dataset.uid_field} or {dataset.iid_field}, "
            f"got {field!r}"
        )
    if dataset.benchmark_filename_list is not None:
        raise SettingError("cold_start splits anew what benchmark_filename has split; leave out one of the two")
    if "RS" not in eval_args["split"] or eval_args.get("group_by") not in (None, "none"):
        raise SettingError(
            "cold_start deals out ids in shares; it needs eval_args with split: {RS: [8, 1, 1]} and group_by: ~, "
            f"got {eval_args}"
        )
    ids = dataset.inter_feat[field]
    there = ids.unique()
    shares = torch.tensor(eval_args["split"]["RS"], dtype=torch.double)
    ends = (len(there) * shares.cumsum(0) / shares.sum()).round().long()
    sizes = ends.diff(prepend=torch.zeros(1, dtype=torch.long))
    if bool(((sizes == 0) & (shares > 0)).any()):
        raise DataError(
            f"cold_start: {dataset.dataset_name} has {len(there)} values of {field}, too few for parts of "
            f"{eval_args['split']['RS']}"
        )
    order = torch.randperm(len(there), generator=torch.Generator().manual_seed(config["seed"]))
    part = torch.empty(int(there.max()) + 1, dtype=torch.long)
    part[there[order]] = torch.arange(len(sizes)).repeat_interleave(sizes)
    return [torch.nonzero(part[ids] == number).squeeze(1) for number in range(len(sizes))]

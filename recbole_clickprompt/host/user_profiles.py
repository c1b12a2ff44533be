"""Builds the profiles of a split data set's users, as of blocks of the training period.

The training period is cut into S blocks of equal numbers of rows. A row of a block may know what its user had
clicked before the block began: S + 1 profiles per user suffice, and none shows a click at or after the row::

    training rows by time:   block 0   |   block 1   |   block 2   |   block 3   |   later: block S = 4
    profile of a row in it:  no items     clicks of     clicks of     clicks of      clicks of all training rows
                                          block 0       blocks 0-1    blocks 0-2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from recbole_clickprompt.data.click_log import RowOrder
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.host.split_rows import SplitRows
from recbole_clickprompt.text.user_profiles import NUMBER, PROFILE, UserProfiles

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["add_profiles", "check_profiles"]


def check_profiles(dataset: TextDataset) -> None:
    """Rejects settings of profiles that contradict the data set.

    Args:
        dataset: With its fields, before its rows are split.

    Raises:
        SettingError: ``user_knowledge: blocks`` without times, or a field has the name of the column.
        DataError: A row has no time.
    """
    config = dataset.config
    if config["user_knowledge"] in (None, "none"):
        return
    if PROFILE in dataset.field2type:
        raise SettingError(
            f"user_knowledge adds the column {PROFILE}, but the data set has a field of this name; rename it with "
            "rename_fields, or leave it out with unload_col"
        )
    if config["user_knowledge"] == "static" or config["history_order"] == "file":
        return
    times = dataset.file_times
    if times is None:
        raise SettingError(
            f"user_knowledge: blocks needs the time of each row, and the data set has no number field "
            f"{dataset.time_field!r} (TIME_FIELD); set user_knowledge: static, or load the field"
        )
    if missing := int(times.isna().sum()):
        raise DataError(
            f"user_knowledge: blocks needs the time of each row, but {missing} rows have none in "
            f"{dataset.time_field}; set user_knowledge: static, or `drop_missing: True`"
        )


def add_profiles(whole: TextDataset, parts: Sequence[TextDataset], rows: SplitRows) -> None:
    """Gives each part of a split the profiles, and each row the number of its own.

    Only clicks of training rows are shown, as a system shows them whose texts are made once before serving.

    Args:
        whole: Before the split; its rows get the profile after the last training row.
        parts: Training, validation and test part.
        rows: Of these parts.
    """
    config, first = whole.config, parts[0]
    users = first.num(first.uid_field)
    if config["user_knowledge"] == "static":
        profiles, numbers = UserProfiles.static(users), rows.column(first.uid_field)
    else:
        times = rows.times()
        profiles, numbers = profiles_by_block(
            users=rows.column(first.uid_field),
            items=rows.column(first.iid_field),
            times=np.arange(len(rows.part_of)) if times is None else times,
            clicked=rows.column(first.label_field) > 0,
            training=rows.known & (rows.part_of == 0),
            num_users=users,
            num_blocks=config["user_blocks"],
            length=config["profile_length"],
        )
    for number, part in enumerate(parts):
        part.user_profiles = profiles
        part.inter_feat[NUMBER] = torch.from_numpy(numbers[rows.of_part(number)].astype(np.int32))
    whole.user_profiles = profiles
    whole.inter_feat[NUMBER] = whole.inter_feat[whole.uid_field].int()


def profiles_by_block(
    *,
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    clicked: np.ndarray,
    training: np.ndarray,
    num_users: int,
    num_blocks: int,
    length: int,
) -> tuple[UserProfiles, np.ndarray]:
    """Profiles of N rows.

    Args:
        users: User ids, ``(N,)``.
        items: Item ids, ``(N,)``.
        times: Finite, ``(N,)``; rows of equal time are of one block.
        clicked: Rows with label 1, ``(N,)``.
        training: Training rows whose labels may be used, ``(N,)``.
        num_users: Number of user ids.
        num_blocks: S.
        length: Most items of a profile; the latest are kept.

    Returns:
        The profiles; and of each row the number of its profile, ``(N,)``.
    """
    period = np.sort(times[training])
    starts = period[np.arange(1, num_blocks) * len(period) // num_blocks] if len(period) else period  # (S - 1,)
    block = np.searchsorted(starts, times, side="right")
    block[times > period[-1] if len(period) else slice(None)] = num_blocks
    order = RowOrder(users, times).rows
    log = order[(training & clicked)[order]]  # clicks by user, then time
    scale = num_blocks + 1
    position = users[log].astype(np.int64) * scale + block[log]  # ascending
    earlier, number = np.unique(users.astype(np.int64) * scale + block, return_inverse=True)
    is_last = earlier % scale == num_blocks
    numbers = np.where(is_last, earlier // scale, num_users + np.cumsum(~is_last) - 1)
    keys = np.concatenate([np.arange(num_users) * scale + num_blocks, earlier[~is_last]])
    ends = np.searchsorted(position, keys)  # clicks of the user in blocks before this one
    begins = np.maximum(np.searchsorted(position, keys // scale * scale), ends - length)
    sizes = ends - begins
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    places = np.repeat(begins - offsets[:-1], sizes) + np.arange(offsets[-1])
    profiles = UserProfiles(
        users=torch.from_numpy(keys // scale),
        blocks=torch.from_numpy(keys % scale),
        offsets=torch.from_numpy(offsets),
        items=torch.from_numpy(items[log][places].astype(np.int32)),
        num_blocks=num_blocks,
    )
    return profiles, numbers[number.reshape(-1)]

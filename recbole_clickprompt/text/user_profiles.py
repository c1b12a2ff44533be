"""What is known about each user at certain times: the items that the user had clicked by then.

Letters: B rows of a batch, P profiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

__all__ = ["NUMBER", "PROFILE", "UserProfiles"]

PROFILE = "user_profile"  # column of a batch: the number of the profile of each row, (B,) int64
NUMBER = "number:profile"  # hidden column of a part of the data set; no field's name can hold a colon


class UserProfiles(NamedTuple):
    """Profiles of users, each as of a time. A user has several: a row must not see the user's later clicks.

    ::

        profiles 0, 1, ..., users - 1    the user of this id, after the last training row
        profiles users, users + 1, ...   (user, block) for each block in which the user has a row

    A user without clicks until then, and a new user, has a profile without items. So has id 0, which stands for
    all users that training never saw.

    Attributes:
        users: User id of each profile, ``(P,)`` int64.
        blocks: The block of the training period at whose start the profile was taken, ``(P,)`` int64; the number
            of blocks stands for the end of the period. Without blocks no profile has items, and all are 0.
        offsets: Where the items of each profile begin, ``(P + 1,)`` int64.
        items: Item ids, profile after profile, oldest first, ``(items,)`` int32.
        num_blocks: Blocks of the training period; 0 for profiles without items.
    """

    users: Tensor
    blocks: Tensor
    offsets: Tensor
    items: Tensor
    num_blocks: int

    def __len__(self) -> int:
        """P."""
        return len(self.users)

    def items_of(self, profile: int) -> list[int]:
        """Item ids of a profile, oldest first."""
        return self.items[int(self.offsets[profile]) : int(self.offsets[profile + 1])].tolist()

    def keys(self, user_tokens: Sequence[str] | np.ndarray) -> list[str]:
        """The key of each profile in files of knowledge: ``<user>@<block>``, or without blocks ``<user>``.

        Args:
            user_tokens: The token of each user id.
        """
        names = [str(user_tokens[user]) for user in self.users.tolist()]
        if not self.num_blocks:
            return names
        return [f"{name}@{block}" for name, block in zip(names, self.blocks.tolist(), strict=True)]

    def replace_columns(self, rows: Interaction) -> Interaction:
        """Puts the number of each row's profile, ``PROFILE``, in the place of the hidden column of the rows."""
        rows.update(Interaction({PROFILE: rows.interaction.pop(NUMBER).long()}))
        return rows

    def digest(self) -> str:
        """A hash of all profiles, for fingerprints."""
        digest = hashlib.sha256()
        for values in (self.users, self.blocks, self.offsets, self.items):
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def static(cls, users: int) -> UserProfiles:
        """One profile without items for each of ``users`` ids."""
        return cls(
            users=torch.arange(users),
            blocks=torch.zeros(users, dtype=torch.int64),
            offsets=torch.zeros(users + 1, dtype=torch.int64),
            items=torch.zeros(0, dtype=torch.int32),
            num_blocks=0,
        )

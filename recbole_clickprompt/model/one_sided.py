"""Rows of which the backbone sees the user or the item alone: what one tells of the other."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from recbole.data.interaction import Interaction

__all__ = ["OneSided"]


class OneSided:
    """Hides the user or the item of some rows, either as likely: ids and features become 0, which is "none".

    With both in sight, prompts for the text of an item come from its own id, and its embedding learns to name it
    and nothing else. Where it is hidden they can come from who the user is: embeddings learn who meets what.

    Args:
        ratio: Share of the rows, from 0 to 1.
        user: Columns of the user, its id and its features.
        item: Columns of the item.
    """

    def __init__(self, ratio: float, *, user: Collection[str], item: Collection[str]) -> None:
        self.ratio, self.sides = ratio, (user, item)

    @classmethod
    def of(cls, ratio: float, dataset: Any) -> OneSided:
        """With the columns of a RecBole data set."""
        user, item = (
            [key, *(name for name in (() if feat is None else feat.columns) if name != key)]
            for key, feat in ((dataset.uid_field, dataset.user_feat), (dataset.iid_field, dataset.item_feat))
        )
        return cls(ratio, user=user, item=item)

    def __call__(self, interaction: Interaction) -> Interaction:
        """The rows anew; those that come in stay as they are."""
        drawn = torch.rand(len(interaction))  # on the CPU, where ranks with other devices draw alike
        columns = dict(interaction.interaction)
        for number, side in enumerate(self.sides):
            low, high = self.ratio / 2 * number, self.ratio / 2 * (number + 1)
            hidden = (drawn >= low) & (drawn < high)
            for name in columns.keys() & set(side):
                column = columns[name]
                at = hidden.to(column.device).view(-1, *[1] * (column.dim() - 1))
                columns[name] = column.masked_fill(at, 0)
        return Interaction(columns)

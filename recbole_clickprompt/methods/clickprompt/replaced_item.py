"""Replaced-item detection: learns who meets what from the rows alone, beside PA-MLM or in its place.

It is the replaced feature detection of MAP (Lin et al., KDD 2023) with the item as the feature. PA-MLM has the
item's own id to recover its text from and so hardly needs to know which users meet it; here nothing else tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction, cat_interactions
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.adapter import Backbone
from recbole_clickprompt.trainer.running_metrics import RunningMean

__all__ = ["ItemPairs", "ReplacedItem", "item_fields", "shuffle_items"]


class ItemPairs(NamedTuple):
    """Rows as they are, and the same rows with the item of another one."""

    actual: Interaction
    replaced: Interaction

    @property
    def rows(self) -> int:
        """Number of the rows as they are."""
        return len(self.actual)

    def select(self, rows: Tensor) -> tuple[ItemPairs, float]:
        """Some of them, and their share."""
        return ItemPairs(self.actual[rows], self.replaced[rows]), len(rows) / self.rows


class ReplacedItem(nn.Module):
    """Tells rows from those whose item was replaced by that of another row of their batch.

    Items are drawn as often as rows have them, so what is learnt is who meets which item, beyond how often it is
    met. Labels are never read.

    Args:
        backbone: CTR model.
        input_size: Q of its representation.
        fields: Those of the item: its id and features.
    """

    def __init__(self, *, backbone: Backbone, input_size: int, fields: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self.fields = backbone, frozenset(fields)
        self.head = nn.Linear(input_size, 1)
        self.metrics = {"replaced_item": RunningMean()}

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """None: all of it starts new."""
        return []

    def split(self, interaction: Interaction, size: int | None = None) -> list[tuple[ItemPairs, float]]:
        """One part with weight 1, whatever the ``size``, which is for PLMs; none where no other row is."""
        count = len(interaction)
        if count < 2:
            return []
        # Each row's is the next one's in a circle of random order, so none keeps its own
        order = torch.randperm(count)
        partner = torch.empty_like(order)
        partner[order] = order.roll(1)
        others = interaction[partner]
        replaced = {
            name: others[name] if name in self.fields else value for name, value in interaction.interaction.items()
        }
        return [(ItemPairs(interaction, Interaction(replaced)), 1.0)]

    def rows(self, part: ItemPairs) -> int:
        """Number of its rows."""
        return part.rows

    def select(self, part: ItemPairs, rows: Tensor) -> tuple[ItemPairs, float]:
        """Some of its rows, and their share."""
        return part.select(rows)

    def logits(self, pairs: ItemPairs) -> Tensor:
        """That the item is the row's own: of ``B`` rows as they are, then of the replaced ones, ``(2B,)``."""
        q, _ = self.backbone(cat_interactions([pairs.actual, pairs.replaced]))
        return self.head(q).squeeze(1).float()

    def calculate_loss(self, pairs: ItemPairs) -> Tensor:
        """Mean binary cross entropy, a scalar in nats; counts in the tally."""
        logits = self.logits(pairs)
        own = torch.zeros_like(logits)
        own[: pairs.rows] = 1.0
        loss = F.binary_cross_entropy_with_logits(logits, own)
        self.metrics["replaced_item"].add(loss, (logits > 0) == (own > 0))
        return loss


def item_fields(dataset: Any) -> list[str]:
    """The item's id and its features."""
    features = [] if dataset.item_feat is None else dataset.item_feat.columns
    return [dataset.iid_field, *(name for name in features if name != dataset.iid_field)]


def shuffle_items(config: Any, dataset: Any) -> Any:
    """The data set with the items of its rows shuffled among them, by the seed.

    A control: users and items are as frequent as before, and user-item interactions are lost.
    """
    generator = torch.Generator().manual_seed(config["seed"])
    order = torch.randperm(len(dataset), generator=generator)
    of_item = set(item_fields(dataset))
    columns = {
        name: column[order] if name in of_item else column
        for name, column in dataset.inter_feat.interaction.items()
    }
    shuffled = dataset.copy(Interaction(columns))
    if shuffled.history_log is not None:
        shuffled.history_log = shuffled.history_log.shuffled(generator)
    return shuffled

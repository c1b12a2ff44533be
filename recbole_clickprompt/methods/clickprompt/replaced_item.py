"""Replaced-item detection: learns user-item interactions from rows without labels, with PA-MLM or in its place.

This is the replaced feature detection of MAP (Lin et al., KDD 2023) with the item as the feature. PA-MLM learns
little about interactions, because the item id in the prompts already determines the item's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from recbole.data.interaction import Interaction, cat_interactions
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.adapter import Backbone
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.running_metrics import RunningMean

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["ItemPairs", "ReplacedItem", "item_fields", "shuffle_items"]


class ItemPairs(NamedTuple):
    """Rows, and the same rows with the items of other rows; a ``masked_lm.BatchPart``. With partners 2, 0, 1::

        actual      user 0, item 0     user 1, item 1     user 2, item 2
        replaced    user 0, item 2     user 1, item 0     user 2, item 1

    Attributes:
        actual: Columns of the unchanged rows.
        replaced: The same columns, those of the item replaced.
    """

    actual: Interaction
    replaced: Interaction

    @property
    def rows(self) -> int:
        """B, the number of unchanged rows."""
        return len(self.actual)

    def select(self, rows: Tensor) -> tuple[ItemPairs, float]:
        """A subset of rows, by number, with their replaced versions, and its share of all."""
        return ItemPairs(self.actual[rows], self.replaced[rows]), len(rows) / self.rows


class ReplacedItem(nn.Module):
    """Distinguishes rows from the same rows with the item of another row of the batch.

    Every item replaces another one as often as it occurs itself, so its popularity does not help, and the model
    has to learn which users interact with which items. Labels are not read.

    Args:
        backbone: CTR model.
        input_size: Q, width of its representation.
        fields: Columns of the item: its id and its features.
    """

    def __init__(self, *, backbone: Backbone, input_size: int, fields: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self.fields = backbone, frozenset(fields)
        self.head = nn.Linear(input_size, 1)
        self.metrics: Mapping[str, RunningMean] = {"replaced_item": RunningMean()}

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Empty: all weights start from random values."""
        return []

    def split(self, interaction: Interaction, size: int | None = None) -> list[tuple[ItemPairs, float]]:
        """One part with weight 1, for any ``size``, which only limits parts with text; none for a single row."""
        count = len(interaction)
        if count < 2:
            return []
        # Each row gets the item of its neighbor in a random cycle over all rows, so none keeps its item
        order = torch.randperm(count)
        partner = torch.empty_like(order)
        partner[order] = order.roll(1)
        others = interaction[partner]
        replaced = {
            name: others[name] if name in self.fields else value for name, value in interaction.interaction.items()
        }
        return [(ItemPairs(interaction, Interaction(replaced)), 1.0)]

    def rows(self, part: ItemPairs) -> int:
        """Number of rows of a part."""
        return part.rows

    def select(self, part: ItemPairs, rows: Tensor) -> tuple[ItemPairs, float]:
        """A subset of the rows of a part, by number, and its share of the part's loss."""
        return part.select(rows)

    def logits(self, pairs: ItemPairs) -> Tensor:
        """Logits of the item being the original one, ``(2 * B,)``: of the unchanged rows, then of the others."""
        q, _ = self.backbone(cat_interactions([pairs.actual, pairs.replaced]))
        return self.head(q).squeeze(1).float()

    def calculate_loss(self, pairs: ItemPairs) -> Tensor:
        """Mean binary cross entropy, a scalar in nats; also added to ``metrics``."""
        logits = self.logits(pairs)
        labels = torch.zeros_like(logits)
        labels[: pairs.rows] = 1.0
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        self.metrics["replaced_item"].add(loss, (logits > 0) == (labels > 0))
        return loss


def item_fields(dataset: Dataset) -> list[str]:
    """Names of the item's columns: its id, then its features."""
    features = [] if dataset.item_feat is None else dataset.item_feat.columns
    return [dataset.iid_field, *(name for name in features if name != dataset.iid_field)]


def shuffle_items(config: Settings, dataset: Dataset) -> Dataset:
    """A copy of a data set in which the items of all rows are permuted, by the seed of the run.

    A control: users and items are as frequent as before, but which user interacted with which item is lost.
    """
    generator = torch.Generator().manual_seed(config["seed"])
    order = torch.randperm(len(dataset), generator=generator)
    item_columns = set(item_fields(dataset))
    columns = {
        name: column[order] if name in item_columns else column
        for name, column in dataset.inter_feat.interaction.items()
    }
    shuffled = dataset.copy(Interaction(columns))
    if shuffled.history_log is not None:
        shuffled.history_log = shuffled.history_log.shuffled(generator)
    return shuffled

"""A row's click history as vectors: embeddings of the clicked items, pooled.

Letters: B rows, T history slots, F fields, I fields of an item (its id and features), d width of an embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from recbole.utils import FeatureSource
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.base import feature_names
from recbole_clickprompt.backbones.dice import Dice
from recbole_clickprompt.backbones.vector_fields import VectorSource
from recbole_clickprompt.settings.history_fields import HistoryFields
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["History", "HistoryPooling", "TargetAttention"]

_BINS = 20  # of the histogram of cosine similarities


class History(nn.Module):
    """Embeddings of the items of a row's history, from the tables that also embed its target item.

    Args:
        config: Of the run.
        dataset: With the features of the items.
        model: Whose embedding tables are used.

    Attributes:
        groups: 1, or with ``history: all`` 2: clicks with label 1, and those with label 0.
        item_fields: Which of the model's F fields are the item's, in their order, I numbers.
    """

    def __init__(self, config: Settings, dataset: Dataset, model: ContextRecommender) -> None:
        super().__init__()
        self.names = HistoryFields.from_config(config)
        self.groups = 2 if config["history"] == "all" else 1
        names = feature_names(model)
        source = dataset.field2source
        self._fields = [name for name in names if source[name] in (FeatureSource.ITEM, FeatureSource.ITEM_ID)]
        self.item_fields = [names.index(name) for name in self._fields]
        for number, name in enumerate(self._fields):
            if source[name] is FeatureSource.ITEM_ID:
                column = torch.arange(dataset.num(name))
            else:
                column = dataset.item_feat[name]
            # They are the data set's, and not learnt: a checkpoint does not hold them
            self.register_buffer(f"column_{number}", column, persistent=False)

    def masks(self, interaction: Interaction) -> list[Tensor]:
        """For each group, the slots that hold one of its clicks, ``(B, T)``."""
        items = interaction[self.names.items]
        used = torch.arange(items.shape[1], device=items.device) < interaction[self.names.length].unsqueeze(1)
        if self.groups == 1:
            return [used]
        liked = interaction[self.names.labels] > 0
        return [used & liked, used & ~liked]

    def forward(self, model: ContextRecommender, interaction: Interaction) -> Tensor:
        """Embeddings of the clicked items, ``(B, T, I, d)``; those of empty slots are of id 0 and to be masked."""
        items = interaction[self.names.items]
        return self._embed(model, items.flatten()).unflatten(0, items.shape)

    def _embed(self, model: ContextRecommender, items: Tensor) -> Tensor:
        """Of N items, ``(N, I, d)``, as RecBole embeds the item of a row."""
        parts = []
        for number, name in enumerate(self._fields):
            values = self.get_buffer(f"column_{number}")[items]  # (N, ...)
            if name in model.token_field_names:
                offset = int(model.token_field_offsets[model.token_field_names.index(name)])
                parts.append(model.token_embedding_table.embedding(values + offset))
            elif name in model.float_field_names:
                offset = int(model.float_field_offsets[model.float_field_names.index(name)])
                number_of, bin_of = values.unbind(-1)
                table = model.float_embedding_table.embedding
                parts.append(table(bin_of.long() + offset) * number_of.unsqueeze(-1))
            elif name in model.token_seq_field_names:
                table = model.token_seq_embedding_table[model.token_seq_field_names.index(name)]
                parts.append(_mean(table(values), values != 0))
            else:
                numbers, bins = values.unbind(-1)
                table = model.float_seq_embedding_table[model.float_seq_field_names.index(name)]
                parts.append(_mean(table(bins.long()) * numbers.unsqueeze(-1), bins != 0))
        return torch.stack(parts, dim=1)


def _mean(vectors: Tensor, mask: Tensor) -> Tensor:
    """Mean over the second dimension where the mask is set, 0 where it nowhere is: ``(N, S, d)`` to ``(N, d)``."""
    weights = mask.to(vectors.dtype) / mask.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("ns,nsd->nd", weights, vectors)


class TargetAttention(nn.Module):
    """DIN's activation unit: each click weighs as much as it says about the target (Zhou et al. 2018, Sec. 4.3).

    Weights are ``MLP([t, h, t - h, t * h])`` and, unless ``softmax`` is set, not normalized, so that their sum
    tells how strong an interest is.

    Args:
        width: Of the target and of a click, W.
        hidden: Width of the MLP's hidden layer.
        softmax: Normalize the weights over the clicks of a row.
    """

    def __init__(self, width: int, *, hidden: int, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax
        self.hidden = nn.Linear(4 * width, hidden)
        self.activation = Dice(hidden)
        self.output = nn.Linear(hidden, 1)

    def forward(self, target: Tensor, clicks: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            target: ``(B, W)``.
            clicks: ``(B, T, W)``.
            mask: Slots that hold a click, ``(B, T)``.

        Returns:
            The weighted sum of the clicks, ``(B, W)``; 0 where a row has none.
        """
        targets = target.unsqueeze(1).expand_as(clicks)
        if self.training:
            # Statistics of batch norm are those of clicks; empty slots, which depend on T, are no part of them
            weights = torch.zeros_like(mask, dtype=clicks.dtype)
            weights = weights.masked_scatter(mask, self._weights(targets[mask], clicks[mask]).to(clicks.dtype))
        else:
            weights = self._weights(targets.flatten(0, 1), clicks.flatten(0, 1)).view(mask.shape).to(clicks.dtype)
        if self.softmax:
            weights = (
                weights.masked_fill(~mask, -torch.inf).softmax(1).nan_to_num(0.0)
            )  # NaN: a row without clicks
        else:
            weights = weights.masked_fill(~mask, 0.0)
        return torch.einsum("bt,btw->bw", weights, clicks)

    def _weights(self, targets: Tensor, clicks: Tensor) -> Tensor:
        """``(N, W)`` twice to ``(N,)``."""
        pairs = torch.cat([targets, clicks, targets - clicks, targets * clicks], dim=1)
        return self.output(self.activation(self.hidden(pairs))).squeeze(1)


class HistoryPooling(VectorSource):
    """A row's history as further fields of a backbone; one set of vectors for each group of clicks.

    ``mean`` and ``attention`` give one vector for each field of an item: the mean over the clicks, or DIN's
    weighted sum. ``similarity_histogram`` gives one vector: a projection of the shares of clicks in bins of their
    cosine similarity to the target (SimTier; it does not train the embeddings).

    Args:
        config: Of the run.
        dataset: With the features of the items.
        model: Whose embedding tables are used.
    """

    def __init__(self, config: Settings, dataset: Dataset, model: ContextRecommender) -> None:
        super().__init__()
        self.kind = config["history_pooling"]
        self.history = History(config, dataset, model)
        fields, width = len(self.history.item_fields), config["embedding_size"]
        groups = range(self.history.groups)
        self.count = self.history.groups * (1 if self.kind == "similarity_histogram" else fields)
        self.pools = nn.ModuleList()
        if self.kind == "attention":
            softmax = config["attention_softmax"]
            self.pools.extend(
                TargetAttention(fields * width, hidden=config["attention_hidden_size"], softmax=softmax)
                for _ in groups
            )
        elif self.kind == "similarity_histogram":
            self.pools.extend(nn.Linear(_BINS, width) for _ in groups)

    def forward(self, model: ContextRecommender, interaction: Interaction, embeddings: Tensor) -> Tensor:
        """See ``VectorSource.forward``; E is the number of groups times that of a group's vectors."""
        clicks = self.history(model, interaction)  # (B, T, I, d)
        masks = self.history.masks(interaction)
        if self.kind == "mean":
            return torch.cat([_mean_of_clicks(clicks, mask) for mask in masks], dim=1)
        target = embeddings[:, self.history.item_fields].flatten(1)  # (B, I * d)
        pairs = zip(self.pools, masks, strict=True)
        if self.kind == "attention":
            pooled = [pool(target, clicks.flatten(2), mask).view_as(clicks[:, 0]) for pool, mask in pairs]
        else:
            with torch.no_grad():
                similarity = F.cosine_similarity(target.unsqueeze(1), clicks.flatten(2), dim=2, eps=1e-8)
            pooled = [pool(_histogram(similarity, mask)).unsqueeze(1) for pool, mask in pairs]
        return torch.cat(pooled, dim=1)


def _mean_of_clicks(clicks: Tensor, mask: Tensor) -> Tensor:
    """``(B, T, I, d)`` to ``(B, I, d)``."""
    weights = mask.to(clicks.dtype) / mask.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bt,btid->bid", weights, clicks)


def _histogram(similarity: Tensor, mask: Tensor) -> Tensor:
    """Shares of a row's clicks in bins of equal width from -1 to 1: ``(B, T)`` to ``(B, _BINS)``."""
    bins = ((similarity + 1) / 2 * _BINS).long().clamp(0, _BINS - 1)
    shares = mask.to(similarity.dtype) / mask.sum(1, keepdim=True).clamp(min=1)
    members = bins.unsqueeze(2) == torch.arange(_BINS, device=bins.device)  # (B, T, _BINS)
    return torch.einsum("bt,btn->bn", shares, members.to(shares.dtype))

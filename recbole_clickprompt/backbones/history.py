"""A row's click history as vectors: embeddings of the clicked items, pooled.

Letters: B rows, T history slots, F fields, I fields of an item (its id and features), d width of an
embedding, U distinct items in the histories of a batch. Each of these is embedded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from recbole.utils import FeatureSource
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.base import feature_names
from recbole_clickprompt.backbones.dice import Dice
from recbole_clickprompt.backbones.vector_fields import VectorSource
from recbole_clickprompt.backbones.weighted_sum import weighted_sum
from recbole_clickprompt.settings.history_fields import HistoryFields
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["HISTOGRAM_BINS", "Clicks", "History", "HistoryPooling", "TargetAttention", "similarity_histogram"]

HISTOGRAM_BINS = 20  # of cosine similarities


class Clicks(NamedTuple):
    """Vectors of clicked items, and the slots that they are in.

    Attributes:
        vectors: ``(U, I * d)``.
        places: Of each slot, the row of ``vectors``, ``(B, T)``; that of an empty slot is to be masked.
    """

    vectors: Tensor
    places: Tensor

    def of_slots(self) -> Tensor:
        """``(B, T, I * d)``."""
        return F.embedding(self.places, self.vectors)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Over the slots of each row: ``(B, T)`` to ``(B, I * d)``."""
        return weighted_sum(self.vectors, self.places, weights.to(self.vectors.dtype))


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

    def forward(self, model: ContextRecommender, interaction: Interaction) -> Clicks:
        """The clicked items' embeddings; those of the I fields of an item are side by side."""
        items = interaction[self.names.items]
        if torch.compiler.is_exporting():  # a graph does without the number of distinct items
            distinct, places = items.flatten(), torch.arange(items.numel(), device=items.device).view(items.shape)
        else:
            distinct, places = torch.unique(items, return_inverse=True)
        return Clicks(self._embed(model, distinct).flatten(1), places)

    def _embed(self, model: ContextRecommender, items: Tensor) -> Tensor:
        """Of U items, ``(U, I, d)``, as RecBole embeds the item of a row."""
        columns = [self.get_buffer(f"column_{number}")[items] for number in range(len(self._fields))]  # (U, ...)
        tokens = [number for number, name in enumerate(self._fields) if name in model.token_field_names]
        parts = dict(
            zip(
                tokens,
                _embed_tokens(model, [self._fields[n] for n in tokens], [columns[n] for n in tokens]),
                strict=True,
            )
        )
        for number, (name, values) in enumerate(zip(self._fields, columns, strict=True)):
            if number in parts:
                continue
            if name in model.float_field_names:
                offset = int(model.float_field_offsets[model.float_field_names.index(name)])
                number_of, bin_of = values.unbind(-1)
                table = model.float_embedding_table.embedding
                parts[number] = table(bin_of.long() + offset) * number_of.unsqueeze(-1)
            elif name in model.token_seq_field_names:
                table = model.token_seq_embedding_table[model.token_seq_field_names.index(name)]
                parts[number] = _mean(table(values), values != 0)
            else:
                numbers, bins = values.unbind(-1)
                table = model.float_seq_embedding_table[model.float_seq_field_names.index(name)]
                parts[number] = _mean(table(bins.long()) * numbers.unsqueeze(-1), bins != 0)
        return torch.stack([parts[number] for number in range(len(columns))], dim=1)


def _embed_tokens(model: ContextRecommender, fields: list[str], columns: list[Tensor]) -> Tensor:
    """Of fields with one value, whose table they share: one look-up, ``(fields, U, d)``."""
    offsets = [int(model.token_field_offsets[model.token_field_names.index(name)]) for name in fields]
    ids = torch.stack([column + offset for column, offset in zip(columns, offsets, strict=True)])
    return model.token_embedding_table.embedding(ids)


def _mean(vectors: Tensor, mask: Tensor) -> Tensor:
    """Mean over the second dimension where the mask is set, 0 where it nowhere is: ``(N, S, d)`` to ``(N, d)``."""
    return torch.einsum("ns,nsd->nd", _shares(mask, vectors.dtype), vectors)


class TargetAttention(nn.Module):
    """DIN's activation unit: each click weighs as much as it says about the target (Zhou et al. 2018, Sec. 4.3).

    Weights are ``MLP([t, h, t - h, t * h])`` and, unless ``softmax`` is set, not normalized, so that their sum
    tells how strong an interest is.

    Args:
        width: Of the target and of a click, I * d.
        hidden: Width of the MLP's hidden layer.
        softmax: Normalize the weights over the clicks of a row.
    """

    def __init__(self, width: int, *, hidden: int, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax
        self.hidden = nn.Linear(4 * width, hidden)
        self.activation = Dice(hidden)
        self.output = nn.Linear(hidden, 1)

    def forward(self, target: Tensor, clicks: Clicks, mask: Tensor) -> Tensor:
        """
        Args:
            target: ``(B, I * d)``.
            clicks: Of the rows' T slots.
            mask: Slots that hold a click, ``(B, T)``.

        Returns:
            The weighted sum of the clicks, ``(B, I * d)``; 0 where a row has none.
        """
        if torch.compiler.is_exporting():  # a graph does without the number of clicks
            rows = torch.arange(mask.shape[0], device=mask.device).unsqueeze(1).expand_as(mask).flatten()
            weights = self._weights(target, clicks.vectors, rows, clicks.places.flatten()).view(mask.shape)
        else:
            # Statistics of batch norm are those of clicks; empty slots, which depend on T, are no part of them
            some = self._weights(target, clicks.vectors, mask.nonzero()[:, 0], clicks.places[mask])
            weights = torch.zeros_like(mask, dtype=some.dtype).masked_scatter(mask, some)
        if self.softmax:
            weights = weights.masked_fill(~mask, -torch.inf).softmax(1).nan_to_num(0.0)  # NaN: no clicks
        else:
            weights = weights.masked_fill(~mask, 0.0)
        return clicks.weighted_sum(weights)

    def _weights(self, target: Tensor, vectors: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """Of N pairs of a row and a click, whose vectors are ``target[rows]`` and ``vectors[places]``, ``(N,)``.

        The products of the first layer with t, h and t - h are computed once per row and item, not per pair:
        ``[A B C D] [t, h, t - h, t * h] = (A + C) t + (B - C) h + D (t * h)``.
        """
        of_t, of_h, of_difference, of_product = self.hidden.weight.chunk(4, dim=1)
        by_row = F.linear(target, of_t + of_difference, self.hidden.bias)  # (B, hidden)
        by_item = F.linear(vectors, of_h - of_difference)  # (U, hidden)
        products = F.embedding(rows, target) * F.embedding(places, vectors)  # (N, I * d)
        hidden = F.linear(products, of_product) + F.embedding(rows, by_row) + F.embedding(places, by_item)
        return self.output(self.activation(hidden)).squeeze(1)


class HistoryPooling(VectorSource):
    """A row's history as further fields of a backbone; one set of vectors for each group of clicks.

    ``mean`` and ``attention`` give one vector for each field of an item: the mean over the clicks, or DIN's
    weighted sum. ``similarity_histogram`` gives one vector: a projection of the shares of clicks in bins of their
    cosine similarity to the target (as SimTier, Sheng et al., CIKM 2024; it does not train the embeddings).

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
            self.pools.extend(nn.Linear(HISTOGRAM_BINS, width) for _ in groups)

    def forward(self, model: ContextRecommender, interaction: Interaction, embeddings: Tensor) -> Tensor:
        """See ``VectorSource.forward``; E is the number of groups times that of a group's vectors."""
        clicks, masks = self.history(model, interaction), self.history.masks(interaction)
        if self.kind == "mean":
            pooled = [clicks.weighted_sum(_shares(mask, embeddings.dtype)) for mask in masks]
        else:
            target = embeddings[:, self.history.item_fields].flatten(1)  # (B, I * d)
            pairs = zip(self.pools, masks, strict=True)
            if self.kind == "attention":
                pooled = [pool(target, clicks, mask) for pool, mask in pairs]
            else:
                with torch.no_grad():
                    similarity = F.cosine_similarity(target.unsqueeze(1), clicks.of_slots(), dim=2, eps=1e-8)
                pooled = [
                    pool(similarity_histogram(similarity, _shares(mask, similarity.dtype))) for pool, mask in pairs
                ]
        return torch.cat([vectors.unflatten(1, (-1, embeddings.shape[2])) for vectors in pooled], dim=1)


def _shares(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Of each click among those of its row, ``(B, T)``."""
    return mask.to(dtype) / mask.sum(1, keepdim=True).clamp(min=1)


def similarity_histogram(similarity: Tensor, weights: Tensor) -> Tensor:
    """Sums of weights in 20 bins of equal width from -1 to 1.

    Args:
        similarity: Cosines of the clicks of a row with its target, ``(B, T)``.
        weights: Of each click; 0 for empty slots, ``(B, T)``.

    Returns:
        ``(B, HISTOGRAM_BINS)``.
    """
    bins = ((similarity + 1) / 2 * HISTOGRAM_BINS).long().clamp(0, HISTOGRAM_BINS - 1)
    members = bins.unsqueeze(2) == torch.arange(HISTOGRAM_BINS, device=bins.device)  # (B, T, HISTOGRAM_BINS)
    return torch.einsum("bt,btn->bn", weights, members.to(weights.dtype))

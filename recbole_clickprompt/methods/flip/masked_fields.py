"""Masked field modeling: ids of a row are hidden, and recovered from its other ids and its text.

Letters: see ``plm/__init__.py``; here F counts the fields that can be masked, those with one id per row; E masked
fields of a row, N negatives per masked field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["FieldPredictor", "IdMasker", "noise_contrastive_loss", "value_counts"]


class IdMasker(nn.Module):
    """Chooses fields to mask in each row, and values that compete with the masked ones.

    Values of all fields are numbered in one sequence, field after field::

        field 0   | 0 1 2 |            offsets  0, 3
        field 1   | 3 4 5 6 7 |        id 2 of field 1 is value 5

    Negatives are drawn among the values of the masked field by their frequency, plus 1 so that none is impossible.

    Args:
        fields: Names of the F fields.
        counts: For each field, how often each of its ids occurs, ``(ids,)``.
        mask_ratio: Share of the fields that is masked in a row: ``int(mask_ratio * F)``, at least 1.
        negatives: N.

    Attributes:
        num_values: Number of values of all fields.
        log_frequencies: Logarithm of each value's frequency, divided by the mean of its field, ``(values,)``.
    """

    def __init__(
        self, fields: Sequence[str], counts: Sequence[Tensor], *, mask_ratio: float, negatives: int
    ) -> None:
        super().__init__()
        self.fields, self.negatives = tuple(fields), negatives
        self.num_masked = max(1, int(mask_ratio * len(fields)))
        sizes = torch.tensor([len(count) for count in counts])
        shares = [(count.double() + 1) / (count.sum() + len(count)) for count in counts]
        self.num_values = int(sizes.sum())
        self.offsets: Tensor
        self.log_frequencies: Tensor
        self.cumulative: Tensor
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)  # (F,)
        frequencies = torch.cat([share * len(share) for share in shares])
        self.register_buffer("log_frequencies", frequencies.log().float(), persistent=False)
        # Ascending over all fields: field f has values in (f, f + 1]
        steps = [number + share.cumsum(0) for number, share in enumerate(shares)]
        self.register_buffer("cumulative", torch.cat(steps), persistent=False)

    def sample(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Masked fields and negatives of B rows.

        Returns:
            Numbers of the masked fields, ``(B, E)``, and values, ``(B, E, N)``, both int64.
        """
        count, device = len(interaction), self.offsets.device
        masked = torch.rand(count, len(self.fields), device=device).argsort(1)[:, : self.num_masked]
        drawn = torch.rand(count, self.num_masked, self.negatives, dtype=torch.float64, device=device)
        values = torch.searchsorted(self.cumulative, drawn + masked.unsqueeze(2), right=True)
        last = torch.cat([self.offsets[1:], self.offsets.new_tensor([self.num_values])]) - 1
        return masked, values.minimum(last[masked].unsqueeze(2))  # rounding cannot lead to the next field

    def targets(self, interaction: Interaction, masked: Tensor) -> Tensor:
        """The values of masked fields, ``(B, E)``."""
        ids = torch.stack([interaction[name] for name in self.fields], dim=1)  # (B, F)
        return ids.gather(1, masked) + self.offsets[masked]

    def hide(self, interaction: Interaction, masked: Tensor) -> Interaction:
        """The same rows with id 0, that of unknown values, in their masked fields."""
        columns = dict(interaction.interaction)
        for number, name in enumerate(self.fields):
            hidden = (masked == number).any(1)
            columns[name] = columns[name].masked_fill(hidden, 0)
        return Interaction(columns)


class FieldPredictor(nn.Module):
    """Recovers masked ids from the remaining ones and from the states of the row's text::

        q~ (B, Q), of the remaining ids -> Linear -> LayerNorm -> query (B, W) --+
        states (B, Z, W), padding excluded ------------------------- attention --+-> g (B, W)
        [g, q~] -> Linear -> one vector per field (B, F, d) -> inner product with the vectors of values

    Args:
        input_size: Q, width of the backbone's representation.
        hidden_size: W, width of the states.
        num_fields: F.
        num_values: Number of values of all fields.
        value_size: d, width of the vectors of values, which have a table of their own.
    """

    def __init__(
        self, *, input_size: int, hidden_size: int, num_fields: int, num_values: int, value_size: int
    ) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.Linear(input_size, hidden_size), nn.LayerNorm(hidden_size))
        self.output = nn.Linear(hidden_size + input_size, num_fields * value_size)
        self.values = nn.Embedding(num_values, value_size)
        nn.init.normal_(self.values.weight, std=value_size**-0.5)

    def vectors(self, q: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        """One vector per field, from which its value is predicted.

        Args:
            q: The backbone's representation of rows with masked fields, ``(B, Q)``.
            states: Of the rows' intact text, ``(B, Z, W)``.
            lengths: Tokens of each row, ``(B,)``.

        Returns:
            ``(B, F, d)``.
        """
        query = self.query(q)
        weights = torch.einsum("bzw,bw->bz", states, query) / states.shape[2] ** 0.5
        padding = torch.arange(states.shape[1], device=states.device) >= lengths.unsqueeze(1)
        weights = weights.masked_fill(padding, float("-inf")).softmax(1)
        read = torch.einsum("bz,bzw->bw", weights, states.masked_fill(padding.unsqueeze(2), 0.0))
        return self.output(torch.cat([read, q], dim=1)).unflatten(1, (-1, self.values.embedding_dim))

    def scores(self, vectors: Tensor, masked: Tensor, values: Tensor) -> Tensor:
        """Scores of some values of the masked fields.

        Args:
            vectors: The result of ``vectors``.
            masked: Numbers of the masked fields, ``(B, E)``.
            values: Values of each, ``(B, E, values)``.

        Returns:
            ``(B, E, values)``.
        """
        chosen = vectors.gather(1, masked.unsqueeze(2).expand(-1, -1, vectors.shape[2]))  # (B, E, d)
        return torch.einsum("bed,bevd->bev", chosen, self.values(values))


def noise_contrastive_loss(scores: Tensor, log_frequencies: Tensor) -> Tensor:
    """Noise-contrastive estimation (Gutmann and Hyvärinen, 2010): is a value the true one, or noise?

    ``exp(score)`` learns the probability of a value, and ``exp(log_frequency)`` is that of noise, both as
    multiples of the mean probability of the field's values.

    Args:
        scores: Of the true value and then of N negatives, ``(B, E, 1 + N)``.
        log_frequencies: See ``IdMasker``, of the same values.

    Returns:
        Losses in nats, ``(B, E)``.
    """
    negatives = scores.shape[2] - 1
    logits = scores - log_frequencies - math.log(negatives)
    labels = torch.zeros_like(logits)
    labels[:, :, 0] = 1.0
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(2)


def value_counts(dataset: Dataset, field: str) -> Tensor:
    """How often each id of a field occurs in the rows of a data set, ``(ids,)`` int64."""
    rows = dataset.inter_feat
    if field in rows:
        ids = rows[field]
    elif dataset.user_feat is not None and field in dataset.user_feat:
        ids = dataset.user_feat[field][rows[dataset.uid_field]]
    else:
        ids = dataset.item_feat[field][rows[dataset.iid_field]]
    return torch.bincount(ids, minlength=dataset.num(field))

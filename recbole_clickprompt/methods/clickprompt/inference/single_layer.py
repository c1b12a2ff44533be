"""A single joint layer whose weights do not change: what it makes of every text alone is made once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.methods.clickprompt.inference.block import InferenceBlock
from recbole_clickprompt.methods.clickprompt.inference.folded_prompts import FoldedPrompts
from recbole_clickprompt.methods.clickprompt.inference.kv_cache import (
    laid_out_size,
    lay_out_texts,
    with_ones,
    without_ones,
)
from recbole_clickprompt.methods.clickprompt.inference.linear import InferenceLinear
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator
from recbole_clickprompt.plm.architectures import LAYOUTS, Layout
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import Batch

__all__ = ["FixedLayer"]

_TEXTS_AT_ONCE = 256
_ROWS_AT_ONCE = 2048  # larger temporaries are slow to come by


@dataclass(frozen=True)
class _Front:
    """What the first token of a row, which summarises it, makes of the row's first text: of each id U of it.

    Attributes:
        states: What enters the layer there, ``(U, W)``, in the precision of matrix products, as all but scores.
        query: Its scaled query, as scores of texts are asked for, ``(U, H, W / H + 1)``.
        score: The text's share in attention, as one score: the logarithm of its exponentials' sum, ``(U, H, 1)``
            float32.
        value: What attention to that text alone gives, ``(U, W)``.
    """

    states: Tensor
    query: Tensor
    score: Tensor
    value: Tensor


class FixedLayer:
    """Scores many rows with one set of weights.

    The query is that of a row's first token, which belongs to the user. So attention to the user's own text is
    the same in every row of that user, and is looked up as one value with one score; keys and values of the
    other texts are made once, and read where they lie. Where a layer's keys and values are affine in a prompt,
    the second layer of the prompt's MLP and the projections are one matrix. What is left for each row is q's way
    through the prompts, attention of one query to them and to the item's text, and what follows it.

    Args:
        plm: Its last layer is the only one that sees whole rows.
        prompt: Makes its prompts of q; anything else gives prompts or None.
        table: States of the texts.
        head: Makes a logit of a row's summary: Linear-Tanh-Linear.
    """

    def __init__(self, plm: PromptedEncoder, prompt: nn.Module, table: StateTable, head: nn.Sequential) -> None:
        self.plm, self.prompt, self.table = plm, prompt, table
        self.index, self.heads = plm.first_layer, plm.encoder.config.num_attention_heads
        self.dtype = _precision(table)
        self.layout = _layout(plm)
        parts = self.layout.post_norm(self.index)
        assert parts is not None
        # Autocast would convert float32 matrices anew in every batch
        self.block = InferenceBlock(parts, width=plm.hidden_size, dtype=self.dtype)
        first: Any
        first, _, last = head
        self.hidden, self.last = InferenceLinear(first, self.dtype, "tanh"), copy.deepcopy(last)
        ends = table.get_buffer("offsets_0")
        self.front = self._read_front(ends)
        self.texts = [
            lay_out_texts(offsets, table.max_length, self.heads, self._pair) for offsets in _offsets(table)[1:]
        ]
        self.cut = sum(int(offsets.diff().max()) for offsets in _offsets(table)) > table.max_length
        self.known = self.front.score  # what scores have of the user alone, (U, H, 1) or (U, H, 1 + K) float32
        self.folded: FoldedPrompts | None = None
        if self.layout.key_value_layers(self.index) and isinstance(prompt, PromptGenerator):
            weight, bias = self._fold(prompt)
            self.folded = FoldedPrompts(prompt, weight=weight, bias=bias, heads=self.heads, dtype=self.dtype)
            of_bias = self.folded.scores_of_bias(without_ones(self.front.query)).float()
            self.known = torch.cat([self.known, of_bias], dim=2)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy of the model that has it gets None, and makes its own: packed weights cannot be copied."""
        return type(None), ()

    @staticmethod
    def serves(plm: PromptedEncoder) -> bool:
        """There is one such layer, its parts are known, and scores do not depend on places."""
        layout = _layout(plm)
        known = layout.post_norm(plm.first_layer) is not None
        return plm.prompt_layers == 1 and known and not (plm.causal or layout.scores_have_places)

    @staticmethod
    def most_bytes(plm: PromptedEncoder, table: StateTable) -> int:
        """What keys and values of all texts but the first column's take at most, in bytes: that of float32."""
        return 4 * sum(laid_out_size(o, table.max_length, plm.hidden_size) for o in _offsets(table)[1:])

    def fits(self) -> bool:
        """Scores are still asked for in the precision that they were prepared for."""
        return self.dtype is _precision(self.table)

    def __call__(self, batch: Batch, q: Tensor) -> Tensor:
        """The head's logits of what ``SummaryPooling`` gives for these rows, ``(B,)`` float32; q is ``(B, Q)``."""
        columns = zip(*(batch[key].split(_ROWS_AT_ONCE) for key in self.table.keys), strict=True)
        parts = zip(columns, q.split(_ROWS_AT_ONCE), strict=True)
        return torch.cat([self._logits(self._pooled(ids, of_part)) for ids, of_part in parts])

    def _logits(self, pooled: Tensor) -> Tensor:
        with torch.autocast(pooled.device.type, enabled=False):  # the last product is in float32, as elsewhere
            return self.last(self.hidden(pooled).float()).squeeze(1)

    def _pooled(self, ids: tuple[Tensor, ...], q: Tensor) -> Tensor:
        """Summaries, ``(B, W)``, all rows at once; their ids are in the order of the table's keys."""
        first, *others = ids
        query, known = (part.index_select(0, first) for part in (self.front.query, self.known))
        known, read_prompts = self._attend_to_prompts(q, without_ones(query), known)
        asked = zip(self.texts, others, self._lengths(ids), strict=True)
        scores = [known, *(text.scores(query, column, lengths) for text, column, lengths in asked)]
        weights = torch.cat(scores, dim=2).softmax(2).to(self.dtype)
        of_known, *of_texts = weights.split([part.shape[2] for part in scores], dim=2)
        of_front, of_prompts = of_known[:, :, :1], of_known[:, :, 1:]
        attended = (self._of_heads(self.front.value.index_select(0, first)) * of_front).flatten(1)
        if read_prompts is not None:
            attended = attended + read_prompts(of_prompts)
        for text, of_text, of_column in zip(self.texts, of_texts, others, strict=True):
            attended = attended + text.read(of_text, of_column)
        states = self.front.states.index_select(0, first)
        return self.block(attended, states)

    def _lengths(self, ids: tuple[Tensor, ...]) -> Sequence[Tensor | None]:
        """Tokens that a row has of each text but the first, ``(B,)``; None where that is all of it."""
        if not self.cut:
            return [None] * len(self.texts)
        return self.table.lengths_by_key(dict(zip(self.table.keys, ids, strict=True)))[1:].unbind()

    def _pair(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the states at ``places``, ``(n,)``, each ``(n, W)``."""
        states = self.table.states.index_select(0, places).float()
        keys, values = self.layout.keys_values(self.index, states.unsqueeze(0), None)
        return keys[0], values[0]

    def _read_front(self, ends: Tensor) -> _Front:
        parts = [
            self._attend_front(ends, ids)
            for ids in torch.arange(len(ends) - 1, device=ends.device).split(_TEXTS_AT_ONCE)
        ]
        states, query, score, value = map(torch.cat, zip(*parts, strict=True))
        query = with_ones(query.to(self.dtype), self.heads)
        return _Front(states.to(self.dtype), query, score, value.to(self.dtype))

    def _attend_front(self, ends: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The tensors of ``_Front`` for some ids, the query as ``(U, W)``."""
        lengths = (ends[ids + 1] - ends[ids]).clamp(max=self.table.max_length)
        column = torch.arange(int(lengths.max()), device=ends.device)
        places = (ends[ids].unsqueeze(1) + column).clamp(max=int(ends[-1]) - 1)
        states = self.table.gather(places).float()
        scale = self.layout.scale(self.index)
        query = self.layout.queries(self.index, states[:, :1], None)
        query = query * ((query.shape[2] // self.heads) ** -0.5 if scale is None else scale)
        keys, values = self.layout.keys_values(self.index, states, None)
        unseen = column >= lengths.unsqueeze(1)
        scores = self._scores(query[:, 0], keys).masked_fill_(unseen.unsqueeze(1), -torch.inf)
        return (
            states[:, 0],
            query[:, 0],
            scores.logsumexp(2, keepdim=True),
            self._weighted(scores.softmax(2), values),
        )

    def _fold(self, prompt: PromptGenerator) -> tuple[Tensor, Tensor]:
        """``(K, W, 2 W)`` and ``(K, 1, 2 W)``: from hidden states of prompts to keys and values."""

        def pair(states: Tensor) -> Tensor:
            return torch.cat(self.layout.keys_values(self.index, states, None), dim=2)

        with torch.autocast(prompt.weight.device.type, enabled=False):
            return pair(prompt.weight) - pair(torch.zeros_like(prompt.bias)), pair(prompt.bias)

    def _attend_to_prompts(
        self, q: Tensor, query: Tensor, known: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
        """Known scores with those of prompts, ``(B, H, 1 + K)`` float32, and what reads these by their weights."""
        if self.folded is not None:
            folded, made = self.folded, self.folded.keys_values(q)
            known[:, :, 1:].add_(folded.scores(query, made))
            return known, lambda weights: folded.read(weights, made)
        prompts = self.prompt(q)
        if prompts is None:
            return known, None
        keys, values = self.plm.prompt_keys_values(self.layout, self.index, prompts[-1])
        scores = torch.cat([known, self._scores(query, keys)], dim=2)
        return scores, lambda weights: self._weighted(weights, values)

    def _of_heads(self, states: Tensor) -> Tensor:
        """``(..., W)`` by head, ``(..., H, W / H)``."""
        return states.view(*states.shape[:-1], self.heads, -1)

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores by head, ``(B, H, N)`` float32, of a query a row, ``(B, W)``, and its keys, ``(B, N, W)``.

        One query a row is little for matrix products of each head.
        """
        products = self._of_heads(keys) * self._of_heads(query).unsqueeze(1)
        return products.sum(3, dtype=torch.float32).transpose(1, 2)

    def _weighted(self, weights: Tensor, values: Tensor) -> Tensor:
        """Values ``(B, N, W)``, weighted by head with ``(B, H, N)``: ``(B, W)``."""
        of_heads = weights.transpose(1, 2).unsqueeze(3).to(values.dtype)
        return (self._of_heads(values) * of_heads).sum(1).flatten(1)


def _offsets(table: StateTable) -> list[Tensor]:
    """Of each key."""
    return [table.get_buffer(f"offsets_{index}") for index in range(len(table.keys))]


def _precision(table: StateTable) -> torch.dtype:
    """What matrix products are computed in."""
    device = table.states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def _layout(plm: PromptedEncoder) -> Layout:
    return LAYOUTS[plm.encoder.config.model_type](plm.encoder)

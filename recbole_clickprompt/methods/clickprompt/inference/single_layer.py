"""Scores of a single interaction layer with fixed weights: what it makes of each text is computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.methods.clickprompt.inference.folded_prompts import FoldedPrompts
from recbole_clickprompt.methods.clickprompt.inference.kv_cache import (
    append_mask_column,
    build_kv_cache,
    drop_mask_column,
    num_elements,
)
from recbole_clickprompt.methods.clickprompt.inference.post_norm_block import FixedLinear, PostNormBlock
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.prompted_layer import PromptedLayer
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import Batch

__all__ = ["SingleLayerScorer"]

_TEXTS_PER_BLOCK = 256
_ROWS_PER_BLOCK = 2048  # larger temporaries are slow to allocate


@dataclass(frozen=True)
class _UserCache:
    """What the summarizing first token of a row makes of the row's first text, the user's, for N ids of it.

    Attributes:
        states: What enters the layer there, ``(N, W)``, in the precision of matrix products, as all but scores.
        query: Its scaled query, as scores of texts are asked for, ``(N, H, D + 1)``.
        score: Attention to the text as one score, the logarithm of the sum of exponentials, ``(N, H, 1)`` float32.
        value: Attention to that text only, ``(N, W)``.
    """

    states: Tensor
    query: Tensor
    score: Tensor
    value: Tensor


class SingleLayerScorer:
    """Scores many rows with one set of weights.

    The query is that of a row's first token, which belongs to the user. So three parts of attention are computed
    in different ways::

        user's text     | the same in every row of a user: one score and one value, looked up
        prompts         | of q, per row; where keys and values are affine in a prompt, with the second layer of
                        |   the prompt's MLP and the layer's projections folded into one matrix
        other texts     | keys and values are cached and read in place

    Args:
        plm: Its last layer is the only one that reads whole rows.
        prompt: Makes the layer's prompts from q, or gives None.
        table: States that enter the layer.
        head: Makes a logit from a row's summary: Linear-Tanh-Linear.
    """

    def __init__(self, plm: PromptedEncoder, prompt: nn.Module, table: StateTable, head: nn.Sequential) -> None:
        self.plm, self.prompt, self.table = plm, prompt, table
        self.heads, self.dtype = plm.encoder.config.num_attention_heads, _matmul_precision(table)
        self.prompted_layer = _single_layer(plm)
        self.layer = self.prompted_layer.adapter
        modules = self.layer.post_norm()
        assert modules is not None, "is_supported"
        # Autocast would convert float32 matrices again in every batch
        self.block = PostNormBlock(modules, width=plm.hidden_size, dtype=self.dtype)
        first: Any
        first, _, last = head
        self.hidden, self.last = FixedLinear(first, self.dtype, "tanh"), copy.deepcopy(last)
        self.user = self._build_user_cache(table.get_buffer("offsets_0"))
        self.texts = [
            build_kv_cache(offsets, table.max_length, self.heads, self._keys_values)
            for offsets in _offsets(table)[1:]
        ]
        self.cut = sum(int(offsets.diff().max()) for offsets in _offsets(table)) > table.max_length
        # Scores that depend on the user only, (N, H, 1), or with those of the prompts' bias (N, H, 1 + K); float32
        self.user_scores = self.user.score
        self.folded: FoldedPrompts | None = None
        if self.layer.key_value_projections() and isinstance(prompt, PromptGenerator):
            weight, bias = self._fold(prompt)
            self.folded = FoldedPrompts(prompt, weight=weight, bias=bias, heads=self.heads, dtype=self.dtype)
            bias_scores = self.folded.bias_scores(drop_mask_column(self.user.query)).float()
            self.user_scores = torch.cat([self.user_scores, bias_scores], dim=2)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy of the model gets None, and builds its own cache when it scores: this one may be large."""
        return type(None), ()

    @staticmethod
    def is_supported(plm: PromptedEncoder) -> bool:
        """True for one interaction layer that is post-norm, not causal, and whose scores ignore positions."""
        architecture = plm.architecture
        fixed_query = not (architecture.causal or architecture.position_dependent_scores)
        return plm.prompt_layers == 1 and fixed_query and _single_layer(plm).adapter.post_norm() is not None

    @staticmethod
    def max_bytes(plm: PromptedEncoder, table: StateTable) -> int:
        """Bytes of the cached keys and values, at most: in float32."""
        return 4 * sum(num_elements(o, table.max_length, plm.hidden_size) for o in _offsets(table)[1:])

    def same_precision(self) -> bool:
        """True if matrix products are still computed in the precision that this was built for."""
        return self.dtype is _matmul_precision(self.table)

    def __call__(self, batch: Batch, q: Tensor) -> Tensor:
        """The head's logits of what ``SummaryPooling`` would give.

        Args:
            batch: Columns of ids, each ``(B,)``.
            q: Representations of the backbone, ``(B, Q)``.

        Returns:
            ``(B,)`` float32.
        """
        columns = zip(*(batch[key].split(_ROWS_PER_BLOCK) for key in self.table.keys), strict=True)
        blocks = zip(columns, q.split(_ROWS_PER_BLOCK), strict=True)
        return torch.cat([self._logits(self._summaries(ids, block_q)) for ids, block_q in blocks])

    def _logits(self, summaries: Tensor) -> Tensor:
        with torch.autocast(summaries.device.type, enabled=False):  # the last product is in float32, as elsewhere
            return self.last(self.hidden(summaries).float()).squeeze(1)

    def _summaries(self, ids: tuple[Tensor, ...], q: Tensor) -> Tensor:
        """Last states of the first tokens, ``(B, W)``; ids are in the order of the table's keys."""
        user, *others = ids
        query, user_scores = (part.index_select(0, user) for part in (self.user.query, self.user_scores))
        user_scores, read_prompts = self._attend_to_prompts(q, drop_mask_column(query), user_scores)
        texts = zip(self.texts, others, self._lengths(ids), strict=True)
        scores = [user_scores, *(text.scores(query, column, lengths) for text, column, lengths in texts)]
        weights = torch.cat(scores, dim=2).softmax(2).to(self.dtype)
        first, *per_text = weights.split([part.shape[2] for part in scores], dim=2)
        user_weights, prompt_weights = first[:, :, :1], first[:, :, 1:]
        attended = (self._by_head(self.user.value.index_select(0, user)) * user_weights).flatten(1)
        if read_prompts is not None:
            attended = attended + read_prompts(prompt_weights)
        for text, text_weights, column in zip(self.texts, per_text, others, strict=True):
            attended = attended + text.read(text_weights, column)
        return self.block(attended, self.user.states.index_select(0, user))

    def _lengths(self, ids: tuple[Tensor, ...]) -> Sequence[Tensor | None]:
        """Tokens of each text but the first that rows have, ``(B,)``; None where that is all of them."""
        if not self.cut:
            return [None] * len(self.texts)
        return self.table.lengths_by_key(dict(zip(self.table.keys, ids, strict=True)))[1:].unbind()

    def _keys_values(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, ``(n, W)`` each, of rows of the table, ``(n,)``."""
        states = self.table.states.index_select(0, places).float()
        keys, values = self.layer.keys_values(states.unsqueeze(0), None)
        return keys[0], values[0]

    def _build_user_cache(self, offsets: Tensor) -> _UserCache:
        ids = torch.arange(len(offsets) - 1, device=offsets.device)
        blocks = [self._attend_to_user(offsets, block) for block in ids.split(_TEXTS_PER_BLOCK)]
        states, query, score, value = map(torch.cat, zip(*blocks, strict=True))
        query = append_mask_column(query.to(self.dtype), self.heads)
        return _UserCache(states.to(self.dtype), query, score, value.to(self.dtype))

    def _attend_to_user(self, offsets: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The tensors of ``_UserCache`` for some ids, the query as ``(N, W)``."""
        lengths = (offsets[ids + 1] - offsets[ids]).clamp(max=self.table.max_length)
        column = torch.arange(int(lengths.max()), device=offsets.device)
        places = (offsets[ids].unsqueeze(1) + column).clamp(max=int(offsets[-1]) - 1)
        states = self.table.gather(places).float()
        scale = self.layer.scale
        query = self.layer.queries(states[:, :1], None)
        query = query * ((query.shape[2] // self.heads) ** -0.5 if scale is None else scale)
        keys, values = self.layer.keys_values(states, None)
        unseen = column >= lengths.unsqueeze(1)
        scores = self._scores(query[:, 0], keys).masked_fill_(unseen.unsqueeze(1), -torch.inf)
        return (
            states[:, 0],
            query[:, 0],
            scores.logsumexp(2, keepdim=True),
            self._weighted_sum(scores.softmax(2), values),
        )

    def _fold(self, prompt: PromptGenerator) -> tuple[Tensor, Tensor]:
        """From hidden states of prompts to their keys and values: ``(K, W, 2 W)`` and a bias, ``(K, 1, 2 W)``."""

        def both(states: Tensor) -> Tensor:
            return torch.cat(self.layer.keys_values(states, None), dim=2)

        with torch.autocast(prompt.weight.device.type, enabled=False):
            return both(prompt.weight) - both(torch.zeros_like(prompt.bias)), both(prompt.bias)

    def _attend_to_prompts(
        self, q: Tensor, query: Tensor, user_scores: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
        """Scores of user and prompts, ``(B, H, 1 + K)`` float32, and a function of the prompts' weights.

        That function gives the weighted sum of the prompts' values, ``(B, W)``; it is None without prompts.
        """
        if self.folded is not None:
            folded, keys_values = self.folded, self.folded.keys_values(q)
            user_scores[:, :, 1:].add_(folded.scores(query, keys_values))
            return user_scores, lambda weights: folded.read(weights, keys_values)
        prompts = self.prompt(q)
        if prompts is None:
            return user_scores, None
        keys, values = self.prompted_layer.prompt_keys_values(prompts[-1])
        scores = torch.cat([user_scores, self._scores(query, keys)], dim=2)
        return scores, lambda weights: self._weighted_sum(weights, values)

    def _by_head(self, states: Tensor) -> Tensor:
        """``(..., W)`` to ``(..., H, D)``."""
        return states.view(*states.shape[:-1], self.heads, -1)

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores ``(B, H, N)`` float32 of one query per row, ``(B, W)``, and its keys, ``(B, N, W)``.

        One query per row is too little for a matrix product of each head.
        """
        products = self._by_head(keys) * self._by_head(query).unsqueeze(1)
        return products.sum(3, dtype=torch.float32).transpose(1, 2)

    def _weighted_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Sums of values ``(B, N, W)`` by weights ``(B, H, N)``: ``(B, W)``."""
        head_weights = weights.transpose(1, 2).unsqueeze(3).to(values.dtype)
        return (self._by_head(values) * head_weights).sum(1).flatten(1)


def _single_layer(plm: PromptedEncoder) -> PromptedLayer:
    """The only interaction layer, after the frozen ones."""
    return plm.layer(plm.num_frozen_layers)


def _offsets(table: StateTable) -> list[Tensor]:
    """Of each key."""
    return [table.get_buffer(f"offsets_{index}") for index in range(len(table.keys))]


def _matmul_precision(table: StateTable) -> torch.dtype:
    device = table.states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32

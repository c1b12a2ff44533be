"""Scores of a single interaction layer with fixed weights: what depends on one text only is computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.methods.clickprompt.inference.folded_prompts import FoldedPrompts
from recbole_clickprompt.methods.clickprompt.inference.kv_cache import (
    build_kv_cache,
    drop_mask_column,
    num_elements,
)
from recbole_clickprompt.methods.clickprompt.inference.post_norm_block import FixedLinear, PostNormBlock
from recbole_clickprompt.methods.clickprompt.inference.user_cache import (
    build_user_cache,
    by_head,
    single_query_scores,
    weighted_sum,
)
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.prompted_layer import PromptedLayer
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import Batch

__all__ = ["SingleLayerScorer"]

_ROWS_PER_BLOCK = 2048  # larger temporary tensors are slow to allocate


class SingleLayerScorer:
    """Scores many rows with one set of weights, in evaluation mode.

    The only query of a row is that of its first token, which belongs to the user's text. The keys of a row are
    handled in three parts, whose scores go through one softmax per row and head::

        part           scores (B, H, .)     computed                  values
        user's text    1                    looked up (UserCache)      looked up (UserCache)
        prompts        K                    from q, for each row      from q, for each row
        other texts    Z of each text       with cached keys          cached, read in place (TextKVCache)

    ``user_scores`` is a table of the first column or columns, looked up by the user's id::

        without folded prompts   (users, H, 1)       user's text
        with folded prompts      (users, H, 1 + K)   user's text, then what the bias of the prompts' keys adds

    Prompts are folded (``FoldedPrompts``) if a prompt's keys and values are affine in the prompt; other prompts
    go through the layer's projections.

    Args:
        plm: Encoder with one interaction layer, for which ``is_supported`` is true.
        prompt: Generates the layer's prompts from q, or returns None.
        table: States that enter the layer.
        head: Maps a row's summary to its logit: Linear-Tanh-Linear.
    """

    def __init__(self, plm: PromptedEncoder, prompt: nn.Module, table: StateTable, head: nn.Sequential) -> None:
        self.plm, self.prompt, self.table = plm, prompt, table
        self.heads, self.dtype = plm.encoder.config.num_attention_heads, _matmul_precision(table)
        self.prompted_layer = _single_layer(plm)
        self.layer = self.prompted_layer.adapter
        modules = self.layer.post_norm()
        assert modules is not None, "is_supported"
        # Autocast would convert the float32 weights in every batch
        self.block = PostNormBlock(modules, width=plm.hidden_size, dtype=self.dtype)
        first: Any
        first, _, last = head
        self.hidden, self.last = FixedLinear(first, self.dtype, "tanh"), copy.deepcopy(last)
        self.user = build_user_cache(self.layer, table, heads=self.heads, dtype=self.dtype)
        self.texts = [
            build_kv_cache(offsets, table.max_length, self.heads, self._keys_values)
            for offsets in _offsets(table)[1:]
        ]
        # Whether a row can be longer than max_length, so that lengths have to be computed for each batch
        self.cut = sum(int(offsets.diff().max()) for offsets in _offsets(table)) > table.max_length
        self.user_scores = self.user.score
        self.folded: FoldedPrompts | None = None
        if self.layer.key_value_projections() and isinstance(prompt, PromptGenerator):
            weight, bias = self._fold(prompt)
            self.folded = FoldedPrompts(prompt, weight=weight, bias=bias, heads=self.heads, dtype=self.dtype)
            bias_scores = self.folded.bias_scores(drop_mask_column(self.user.query)).float()
            self.user_scores = torch.cat([self.user_scores, bias_scores], dim=2)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Makes copies and pickles of a model contain None: the cache may be large, and a copy builds its own."""
        return type(None), ()

    @staticmethod
    def is_supported(plm: PromptedEncoder) -> bool:
        """True for one interaction layer that is post-norm, not causal, and whose scores ignore positions."""
        architecture = plm.architecture
        fixed_query = not (architecture.causal or architecture.position_dependent_scores)
        return plm.prompt_layers == 1 and fixed_query and _single_layer(plm).adapter.post_norm() is not None

    @staticmethod
    def max_bytes(plm: PromptedEncoder, table: StateTable) -> int:
        """Maximum size of the cached keys and values in bytes, that of float32."""
        return 4 * sum(num_elements(o, table.max_length, plm.hidden_size) for o in _offsets(table)[1:])

    def same_precision(self) -> bool:
        """True if the current precision of matrix products is the one that the cache was built for."""
        return self.dtype is _matmul_precision(self.table)

    def __call__(self, batch: Batch, q: Tensor) -> Tensor:
        """The logits that ``head`` would compute from the result of ``SummaryPooling``.

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
        """Logits, ``(B,)``, of summaries, ``(B, W)``; the last product is in float32, as in ``ClickPrompt``."""
        with torch.autocast(summaries.device.type, enabled=False):
            return self.last(self.hidden(summaries).float()).squeeze(1)

    def _summaries(self, ids: tuple[Tensor, ...], q: Tensor) -> Tensor:
        """Outputs of the layer at the first tokens, ``(B, W)``.

        Args:
            ids: Ids of each of the table's keys, ``(B,)`` each.
            q: ``(B, Q)``.
        """
        user, *others = ids
        query, user_scores = (part.index_select(0, user) for part in (self.user.query, self.user_scores))
        user_scores, read_prompts = self._attend_to_prompts(q, drop_mask_column(query), user_scores)
        texts = zip(self.texts, others, self._lengths(ids), strict=True)
        scores = [user_scores, *(text.scores(query, column, lengths) for text, column, lengths in texts)]
        weights = torch.cat(scores, dim=2).softmax(2).to(self.dtype)  # over all parts of the row
        first, *per_text = weights.split([part.shape[2] for part in scores], dim=2)
        user_weights, prompt_weights = first[:, :, :1], first[:, :, 1:]  # (B, H, 1), (B, H, K)
        attended = (by_head(self.user.value.index_select(0, user), self.heads) * user_weights).flatten(1)  # (B, W)
        if read_prompts is not None:
            attended = attended + read_prompts(prompt_weights)
        for text, text_weights, column in zip(self.texts, per_text, others, strict=True):
            attended = attended + text.read(text_weights, column)
        return self.block(attended, self.user.states.index_select(0, user))

    def _lengths(self, ids: tuple[Tensor, ...]) -> Sequence[Tensor | None]:
        """For each text but the first one, its tokens in each row, ``(B,)``; None if no row is cut."""
        if not self.cut:
            return [None] * len(self.texts)
        return self.table.lengths_by_key(dict(zip(self.table.keys, ids, strict=True)))[1:].unbind()

    def _keys_values(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, ``(block tokens, W)`` each, of lines of the table, ``(block tokens,)``."""
        states = self.table.states.index_select(0, places).float()  # (block tokens, W)
        keys, values = self.layer.keys_values(states.unsqueeze(0), None)
        return keys[0], values[0]

    def _fold(self, prompt: PromptGenerator) -> tuple[Tensor, Tensor]:
        """The map from hidden states of prompts to keys and values: ``(K, W, 2 W)`` and a bias ``(K, 1, 2 W)``."""

        def keys_then_values(states: Tensor) -> Tensor:
            return torch.cat(self.layer.keys_values(states, None), dim=2)

        with torch.autocast(prompt.weight.device.type, enabled=False):
            weight = keys_then_values(prompt.weight) - keys_then_values(torch.zeros_like(prompt.bias))
            return weight, keys_then_values(prompt.bias)

    def _attend_to_prompts(
        self, q: Tensor, query: Tensor, user_scores: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
        """Attention to the prompts.

        Args:
            q: ``(B, Q)``.
            query: Scaled queries, ``(B, W)``.
            user_scores: Rows of the table ``user_scores``, ``(B, H, 1 or 1 + K)``; may be changed in place.

        Returns:
            Scores of the user's text and the prompts, ``(B, H, 1 + K)`` float32; and a function that maps the
            weights of the prompts, ``(B, H, K)``, to the weighted sum of their values, ``(B, W)``. Without prompts
            the scores are ``(B, H, 1)`` and the function is None.
        """
        if self.folded is not None:
            folded, keys_values = self.folded, self.folded.keys_values(q)
            user_scores[:, :, 1:].add_(folded.scores(query, keys_values))
            return user_scores, lambda weights: folded.read(weights, keys_values)
        prompts = self.prompt(q)
        if prompts is None:
            return user_scores, None
        keys, values = self.prompted_layer.prompt_keys_values(prompts[-1])
        scores = torch.cat([user_scores, single_query_scores(query, keys, self.heads)], dim=2)
        return scores, lambda weights: weighted_sum(weights, values, self.heads)


def _single_layer(plm: PromptedEncoder) -> PromptedLayer:
    """The only interaction layer, after the frozen ones."""
    return plm.layer(plm.num_frozen_layers)


def _offsets(table: StateTable) -> list[Tensor]:
    """Where the states of each id begin, for each key, ``(ids + 1,)``."""
    return [table.get_buffer(f"offsets_{index}") for index in range(len(table.keys))]


def _matmul_precision(table: StateTable) -> torch.dtype:
    """Type of matrix products on the table's device: that of autocast, or float32."""
    device = table.states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32

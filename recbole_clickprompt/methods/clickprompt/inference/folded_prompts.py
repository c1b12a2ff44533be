"""Prompts of one layer with fixed weights, as keys and values that one query per row attends to."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_clickprompt.methods.clickprompt.inference.post_norm_block import FixedLinear
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator

__all__ = ["FoldedPrompts"]


class FoldedPrompts:
    """Makes the keys and values of K prompts from q, where both are affine in the prompt.

    Then the second layer of a prompt's MLP and the layer's projections are one matrix, "folded". Its product has
    no bias: what the bias adds to the scores depends on the query only, and adding the values' bias to the
    weighted mean costs far less than adding it to all values.

    Args:
        prompt: Of a single layer; its hidden layer is used.
        weight: From a prompt's hidden states to its keys, then values, ``(K, W, 2 W)`` float32.
        bias: Of the same, ``(K, 1, 2 W)`` float32.
        heads: H.
        dtype: Of products.
    """

    def __init__(
        self, prompt: PromptGenerator, *, weight: Tensor, bias: Tensor, heads: int, dtype: torch.dtype
    ) -> None:
        width = weight.shape[1]
        self.heads, self.weight = heads, weight.detach().to(dtype)
        self.hidden = FixedLinear(prompt.hidden, dtype, "tanh")
        key_bias, value_bias = bias.detach().squeeze(1).split(width, dim=1)
        # 1 where a number of the query belongs to a head
        membership = torch.eye(heads, device=bias.device).repeat_interleave(width // heads, dim=0)  # (W, H)
        self.membership = membership.to(dtype)
        self.key_bias = (key_bias.t().unsqueeze(2) * membership.unsqueeze(1)).flatten(1).to(dtype)  # (W, K H)
        self.value_bias = (membership.t().unsqueeze(1) * value_bias).flatten(0, 1).to(dtype)  # (H K, W)

    def keys_values(self, q: Tensor) -> Tensor:
        """Keys, then values, without their bias, ``(K, B, 2 W)``, of q, ``(B, Q)``."""
        count, width, _ = self.weight.shape
        states = self.hidden(q)
        return torch.bmm(states.view(len(q), count, width).transpose(0, 1), self.weight)

    def scores(self, query: Tensor, keys_values: Tensor) -> Tensor:
        """Scores without those of the bias, ``(B, H, K)``, of one scaled query per row, ``(B, W)``."""
        count, rows, _ = keys_values.shape
        products = keys_values[:, :, : query.shape[1]] * query
        scores = torch.mm(products.flatten(0, 1), self.membership).view(count, rows, self.heads)
        return scores.permute(1, 2, 0)

    def bias_scores(self, query: Tensor) -> Tensor:
        """What the keys' bias adds to the scores of N scaled queries, ``(N, W)``: ``(N, H, K)``."""
        return torch.mm(query, self.key_bias).view(len(query), -1, self.heads).transpose(1, 2)

    def read(self, weights: Tensor, keys_values: Tensor) -> Tensor:
        """Weighted sums of the values, ``(B, W)``, by weights ``(B, H, K)``; the values are not copied."""
        rows, heads, count = weights.shape
        weights = weights.to(keys_values.dtype).reshape(rows * heads * count).contiguous()
        places, begins = _places(rows, heads, count, weights.device)
        table = keys_values.view(count * rows * 2 * heads, -1)
        read = F.embedding_bag(places, table, begins, mode="sum", per_sample_weights=weights)
        return torch.addmm(read.view(rows, -1), weights.view(rows, -1), self.value_bias)


@lru_cache(maxsize=2)  # the batches of a data set, and its last one
def _places(rows: int, heads: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices of ``embedding_bag`` into keys and values ``(K, B, 2 W)``, seen as ``(K * B * 2 H, D)``.

    One prompt of one row is 2 H rows of that table::

        key of head 1 | ... | key of head H | value of head 1 | ... | value of head H

    Returns:
        Rows with values by row, head and prompt, ``(B * H * K,)`` int32; and where each sum of K begins,
        ``(B * H,)``.
    """
    row, head, prompt = (torch.arange(size, device=device, dtype=torch.int32) for size in (rows, heads, count))
    begins = (row.view(-1, 1, 1) + rows * prompt) * (2 * heads) + heads
    places = (begins + head.view(-1, 1)).flatten()
    return places, torch.arange(0, len(places), count, device=device, dtype=torch.int32)

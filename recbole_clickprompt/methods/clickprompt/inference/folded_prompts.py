"""Prompts of one layer with fixed weights, as the keys and values that a single query a row attends to."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_clickprompt.methods.clickprompt.inference.linear import InferenceLinear
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator

__all__ = ["FoldedPrompts"]


class FoldedPrompts:
    """Makes K prompts' keys and values of q, where both are affine in the prompt.

    Then the second layer of a prompt's MLP and the projections are one matrix. Its product carries no bias: what
    a bias adds to scores is the same for each query, and to what is read far less to compute than all keys and
    values with it.

    Args:
        prompt: Of a single layer; its hidden layer is read.
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
        self.hidden = InferenceLinear(prompt.hidden, dtype, "tanh")
        key_bias, value_bias = bias.detach().squeeze(1).split(width, dim=1)
        # Which head each number of a query belongs to
        of_heads = torch.eye(heads, device=bias.device).repeat_interleave(width // heads, dim=0)  # (W, H)
        self.of_heads = of_heads.to(dtype)
        self.key_bias = (key_bias.t().unsqueeze(2) * of_heads.unsqueeze(1)).flatten(1).to(dtype)  # (W, K H)
        self.value_bias = (of_heads.t().unsqueeze(1) * value_bias).flatten(0, 1).to(dtype)  # (H K, W)

    def keys_values(self, q: Tensor) -> Tensor:
        """Keys, then values, without their bias, ``(K, B, 2 W)``, of q, ``(B, Q)``."""
        count, width, _ = self.weight.shape
        states = self.hidden(q)
        return torch.bmm(states.view(len(q), count, width).transpose(0, 1), self.weight)

    def scores(self, query: Tensor, keys_values: Tensor) -> Tensor:
        """Scores by head, ``(B, H, K)``, of one scaled query a row, ``(B, W)``, without those of the bias."""
        count, rows, _ = keys_values.shape
        products = keys_values[:, :, : query.shape[1]] * query
        scores = torch.mm(products.flatten(0, 1), self.of_heads).view(count, rows, self.heads)
        return scores.permute(1, 2, 0)

    def scores_of_bias(self, query: Tensor) -> Tensor:
        """What the bias of keys adds to the scores of scaled queries ``(U, W)``, ``(U, H, K)``."""
        return torch.mm(query, self.key_bias).view(len(query), -1, self.heads).transpose(1, 2)

    def read(self, weights: Tensor, keys_values: Tensor) -> Tensor:
        """Values, weighted by head with ``(B, H, K)``: ``(B, W)``. They are summed where they lie."""
        rows, heads, count = weights.shape
        weights = weights.to(keys_values.dtype).reshape(rows * heads * count).contiguous()
        places, begins = _places(rows, heads, count, weights.device)
        table = keys_values.view(count * rows * 2 * heads, -1)
        read = F.embedding_bag(places, table, begins, mode="sum", per_sample_weights=weights)
        return torch.addmm(read.view(rows, -1), weights.view(rows, -1), self.value_bias)


@lru_cache(maxsize=2)  # a set's batches, and its last one
def _places(rows: int, heads: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where values lie by row, head and prompt, ``(B * H * K,)`` int32; and each head's first, ``(B * H,)``."""
    row, head, prompt = (torch.arange(size, device=device, dtype=torch.int32) for size in (rows, heads, count))
    # Numbers of 2 H heads lie side by side, those of the values behind those of the keys
    begins = (row.view(-1, 1, 1) + rows * prompt) * (2 * heads) + heads
    places = (begins + head.view(-1, 1)).flatten()
    return places, torch.arange(0, len(places), count, device=device, dtype=torch.int32)

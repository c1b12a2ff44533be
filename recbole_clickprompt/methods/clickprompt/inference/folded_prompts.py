"""Keys and values of the prompts of one layer with fixed weights, for one query per row."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_clickprompt.methods.clickprompt.inference.post_norm_block import FixedLinear
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator

__all__ = ["FoldedPrompts"]


class FoldedPrompts:
    """Computes keys and values of K prompts from q, for layers whose keys and values are affine in the prompt.

    The second layer of a prompt's MLP and the projections of the PLM's layer are then one matrix per prompt::

        q (B, Q) -> hidden layer, tanh (B, K * W) -> weight (K, W, 2 W) -> keys, values (K, B, 2 W)

                                  2 W columns
        one prompt of one row   | key of head 1 ... key of head H | value of head 1 ... value of head H |

    The product has no bias. What the keys' bias adds to the scores depends on the query only (``bias_scores``,
    cached for each user); the values' bias is added to the weighted mean in ``read``, which is cheaper than adding
    it to all values.

    Args:
        prompt: Prompt generator of a single layer; its hidden layer is used.
        weight: Maps a prompt's hidden states to its keys and values, ``(K, W, 2 W)`` float32.
        bias: Bias of this map, ``(K, 1, 2 W)`` float32.
        heads: H.
        dtype: Precision of matrix products.
    """

    def __init__(
        self, prompt: PromptGenerator, *, weight: Tensor, bias: Tensor, heads: int, dtype: torch.dtype
    ) -> None:
        width = weight.shape[1]
        self.heads, self.weight = heads, weight.detach().to(dtype)
        self.hidden = FixedLinear(prompt.hidden, dtype, "tanh")
        key_bias, value_bias = bias.detach().squeeze(1).split(width, dim=1)
        # 1 where an element of the query belongs to a head
        membership = torch.eye(heads, device=bias.device).repeat_interleave(width // heads, dim=0)  # (W, H)
        self.membership = membership.to(dtype)
        self.key_bias = (key_bias.t().unsqueeze(2) * membership.unsqueeze(1)).flatten(1).to(dtype)  # (W, K H)
        self.value_bias = (membership.t().unsqueeze(1) * value_bias).flatten(0, 1).to(dtype)  # (H K, W)

    def keys_values(self, q: Tensor) -> Tensor:
        """Keys, then values, without bias, ``(K, B, 2 W)``, from q, ``(B, Q)``."""
        count, width, _ = self.weight.shape
        states = self.hidden(q)  # (B, K * W)
        return torch.bmm(states.view(len(q), count, width).transpose(0, 1), self.weight)

    def scores(self, query: Tensor, keys_values: Tensor) -> Tensor:
        """Scores of one query per row, without what the bias adds.

        Args:
            query: Scaled queries, ``(B, W)``.
            keys_values: ``(K, B, 2 W)``.

        Returns:
            ``(B, H, K)``.
        """
        count, rows, _ = keys_values.shape
        products = keys_values[:, :, : query.shape[1]] * query  # (K, B, W)
        # Sums the D products of each head
        scores = torch.mm(products.flatten(0, 1), self.membership).view(count, rows, self.heads)
        return scores.permute(1, 2, 0)

    def bias_scores(self, query: Tensor) -> Tensor:
        """What the keys' bias adds to the scores of scaled queries, ``(users, W)``: ``(users, H, K)``."""
        return torch.mm(query, self.key_bias).view(len(query), -1, self.heads).transpose(1, 2)

    def read(self, weights: Tensor, keys_values: Tensor) -> Tensor:
        """Weighted sums of the values, bias included; the values are not copied.

        Args:
            weights: Attention weights of the prompts, ``(B, H, K)``.
            keys_values: ``(K, B, 2 W)``.

        Returns:
            ``(B, W)``.
        """
        rows, heads, count = weights.shape
        weights = weights.to(keys_values.dtype).reshape(rows * heads * count).contiguous()
        places, begins = _places(rows, heads, count, weights.device)
        table = keys_values.view(count * rows * 2 * heads, -1)  # (K * B * 2 * H, D)
        read = F.embedding_bag(places, table, begins, mode="sum", per_sample_weights=weights)
        return torch.addmm(read.view(rows, -1), weights.view(rows, -1), self.value_bias)


@lru_cache(maxsize=2)  # two sizes: that of all batches of a data set and that of the last one
def _places(rows: int, heads: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices for ``embedding_bag`` into keys and values ``(K, B, 2 W)`` as a table ``(K * B * 2 * H, D)``.

    The lines of the table, each of D elements, for prompt k of row b::

        (k * B + b) * 2 * H           key of head 1
        ...
        (k * B + b) * 2 * H + H - 1   key of head H
        (k * B + b) * 2 * H + H       value of head 1
        ...

    Args:
        rows: B.
        heads: H.
        count: K.
        device: Device of the indices.

    Returns:
        Lines with values, ordered by row, head and prompt, ``(B * H * K,)`` int32; and where each sum of K lines
        begins, ``(B * H,)`` int32.
    """
    row, head, prompt = (torch.arange(size, device=device, dtype=torch.int32) for size in (rows, heads, count))
    begins = (row.view(-1, 1, 1) + rows * prompt) * (2 * heads) + heads
    places = (begins + head.view(-1, 1)).flatten()
    return places, torch.arange(0, len(places), count, device=device, dtype=torch.int32)

"""Attention of one query a row to texts whose keys and values are known: nothing of them is copied."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["KnownTexts", "laid_out_size", "lay_out_texts"]

_TEXTS_AT_ONCE = 256


class KnownTexts:
    """Keys and values of the texts of one column, M ids with at most Z tokens each.

    A score is a sum of as many rows of a table as a head has numbers, each times a number of the query, if the
    table has a row for each number of the keys, with tokens along it. What a head reads is a sum of as many rows
    as there are tokens. Both are weighted bags of embeddings, which read a table where it lies; gathering keys
    and values of each row of a batch first costs more than all arithmetic with them.

    Args:
        keys: With tokens along rows, ``(M * W, Z)``; zeros behind a text's end.
        values: Of all tokens by head, ``(N * H, W / H)``, one text behind the other.
        begins: Which of the N is each text's first, ``(M,)``.
        heads: H.
    """

    def __init__(self, keys: Tensor, values: Tensor, begins: Tensor, heads: int) -> None:
        self.keys, self.values, self.heads = keys, values, heads
        few = max(len(keys), len(values)) < torch.iinfo(torch.int32).max  # half as much to write and to read
        self.begins = begins.to(torch.int32 if few else torch.int64)

    def scores(self, query: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """Scores by head, ``(B, H, Z')`` float32, of the B texts with these ids; Z' is the longest one's length.

        Args:
            query: ``(B, W)``.
            ids: ``(B,)`` int64.
            lengths: Tokens seen of each, ``(B,)`` int64; what is behind them has score minus infinity.
        """
        width = query.shape[1]
        rows = ids.to(self.begins.dtype).unsqueeze(1) * width
        rows = rows + self._arange(width)
        scores = _sum_rows(self.keys, rows, query, (len(ids) * self.heads, width // self.heads))
        scores = scores.view(len(ids), self.heads, -1)[:, :, : max(1, int(lengths.max()))].float()
        unseen = torch.arange(scores.shape[2], device=ids.device) >= lengths.unsqueeze(1)
        return scores.masked_fill_(unseen.unsqueeze(1), -torch.inf)

    def read(self, weights: Tensor, ids: Tensor) -> Tensor:
        """Values of the texts with these ids, weighted by head, ``(B, W)``; weights are ``(B, H, Z')``."""
        rows, heads, length = weights.shape
        places = self.begins.index_select(0, ids).unsqueeze(1) + self._arange(length)
        places = places.clamp_(max=len(self.values) // heads - 1)  # where there is nothing, weights are zero
        places = places.unsqueeze(1) * heads + self._arange(heads).unsqueeze(1)
        return _sum_rows(self.values, places, weights, (rows * heads, length)).view(rows, -1)

    def _arange(self, size: int) -> Tensor:
        return torch.arange(size, device=self.begins.device, dtype=self.begins.dtype)


def _sum_rows(table: Tensor, rows: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weighted sums of rows of a table; ``shape`` is how many sums and how many summands each."""
    weights = weights.to(table.dtype).reshape(shape)
    return F.embedding_bag(rows.view(shape), table, mode="sum", per_sample_weights=weights)


def laid_out_size(offsets: Tensor, longest: int, width: int) -> int:
    """How many numbers ``lay_out_texts`` keeps; keys take as much as if each text were as long as the longest."""
    lengths = offsets.diff().clamp(max=longest)
    return width * int(len(lengths) * lengths.max() + lengths.sum())


def lay_out_texts(
    offsets: Tensor, longest: int, heads: int, make: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> KnownTexts:
    """Keys and values of a column's texts.

    Args:
        offsets: Where each text's tokens begin among all tokens, ``(M + 1,)``.
        longest: Most tokens of a text; the end of a longer one is cut.
        heads: H.
        make: Gives keys and values, each ``(n, W)``, of tokens at places ``(n,)``.
    """
    lengths = offsets.diff().clamp(max=longest)
    column = torch.arange(max(1, int(lengths.max())), device=offsets.device)
    keys, values = [], []
    for some in torch.arange(len(lengths), device=offsets.device).split(_TEXTS_AT_ONCE):
        inside = column < lengths[some].unsqueeze(1)
        key, value = make((offsets[some].unsqueeze(1) + column)[inside])
        padded = key.new_zeros(*inside.shape, key.shape[1])
        padded[inside] = key
        keys.append(padded.transpose(1, 2).flatten(0, 1))
        values.append(value)
    by_head = torch.cat(values).unflatten(1, (heads, -1)).flatten(0, 1)
    return KnownTexts(torch.cat(keys), by_head, lengths.cumsum(0) - lengths, heads)

"""Attention of one query a row to texts whose keys and values are known: nothing of them is copied."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["KnownTexts", "laid_out_size", "lay_out_texts", "with_ones", "without_ones"]

_TEXTS_AT_ONCE = 256


class KnownTexts:
    """Keys and values of the texts of one column, M ids with at most Z tokens each.

    A score is a sum of as many rows of a table as a head has numbers, each times a number of the query, if the
    table has a row for each number of the keys, with tokens along it. What a head reads is a sum of as many rows
    as there are tokens. Both are weighted bags of embeddings, which read a table where it lies; gathering keys
    and values of each row of a batch first costs more than all arithmetic with them.

    Args:
        keys: With tokens along rows, ``(M * (W + 1), Z)``; zeros behind a text's end. A text's last row is added
            to each of its scores: minus infinity behind its end, and else zero.
        values: Of all tokens by head, ``(N * H, W / H)``, one text behind the other.
        lengths: Tokens of each text, ``(M,)`` int64.
        heads: H.
    """

    def __init__(self, keys: Tensor, values: Tensor, lengths: Tensor, heads: int) -> None:
        self.keys, self.values, self.lengths, self.heads = keys, values, lengths, heads
        few = max(len(keys), len(values)) < torch.iinfo(torch.int32).max  # half as much to write and to read
        self.dtype = torch.int32 if few else torch.int64
        self.begins = (lengths.cumsum(0) - lengths).to(self.dtype)
        width = len(keys) // len(lengths) - 1
        of_query = self._arange(width).view(heads, -1)
        # Rows of a text that make the scores of each head
        self.summed = torch.cat([of_query, of_query.new_full((heads, 1), width)], dim=1).flatten()
        self.columns, self.of_heads = self._arange(keys.shape[1]), self._arange(heads).unsqueeze(1)

    def scores(self, query: Tensor, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores by head, ``(B, H, Z')`` of the keys' type, of B texts by id; Z' is the longest one's length.

        Args:
            query: ``(B, H, W / H + 1)``, the last number of each head a one.
            ids: ``(B,)`` int64.
            lengths: Tokens seen of each, ``(B,)`` int64, where that is not all; what is behind them has score
                minus infinity.
        """
        rows = (ids * (len(self.keys) // len(self.lengths))).to(self.dtype).unsqueeze(1) + self.summed
        scores = _sum_rows(self.keys, rows, query, (len(ids) * self.heads, query.shape[2]))
        seen = self.lengths.index_select(0, ids) if lengths is None else lengths
        scores = scores.view(len(ids), self.heads, -1)[:, :, : max(1, int(seen.max()))]
        if lengths is not None:
            unseen = self.columns[: scores.shape[2]] >= lengths.unsqueeze(1)
            scores.masked_fill_(unseen.unsqueeze(1), -torch.inf)
        return scores

    def read(self, weights: Tensor, ids: Tensor) -> Tensor:
        """Values of the texts with these ids, weighted by head, ``(B, W)``; weights are ``(B, H, Z')``."""
        rows, heads, length = weights.shape
        places = self.begins.index_select(0, ids).unsqueeze(1) + self.columns[:length]
        places = places.clamp_(max=len(self.values) // heads - 1)  # where there is nothing, weights are zero
        places = places.unsqueeze(1) * heads + self.of_heads
        return _sum_rows(self.values, places, weights, (rows * heads, length)).view(rows, -1)

    def _arange(self, size: int) -> Tensor:
        return torch.arange(size, device=self.lengths.device, dtype=self.dtype)


def with_ones(query: Tensor, heads: int) -> Tensor:
    """Queries ``(U, W)`` as scores of texts are asked for with them, ``(U, H, W / H + 1)``."""
    return F.pad(query.view(len(query), heads, -1), (0, 1), value=1.0)


def without_ones(query: Tensor) -> Tensor:
    """``with_ones`` undone: ``(U, W)``."""
    return query[:, :, :-1].flatten(1)


def _sum_rows(table: Tensor, rows: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weighted sums of rows of a table; ``shape`` is how many sums and how many summands each."""
    weights = weights.to(table.dtype).reshape(-1)
    begins = _begins(*shape, rows.dtype, rows.device)
    return F.embedding_bag(rows.view(-1), table, begins, mode="sum", per_sample_weights=weights)


@lru_cache(maxsize=64)  # the batches of a set have few sizes
def _begins(count: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where each of so many sums of the same size begins, ``(count,)``."""
    return torch.arange(0, count * size, size, dtype=dtype, device=device)


def laid_out_size(offsets: Tensor, longest: int, width: int) -> int:
    """How many numbers ``lay_out_texts`` keeps; keys take as much as if each text were as long as the longest."""
    lengths = offsets.diff().clamp(max=longest)
    return int(len(lengths) * lengths.max() * (width + 1) + lengths.sum() * width)


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
        padded = key.new_zeros(*inside.shape, key.shape[1] + 1)
        padded[..., -1].masked_fill_(~inside, -torch.inf)
        padded[..., :-1][inside] = key
        keys.append(padded.transpose(1, 2).flatten(0, 1))
        values.append(value)
    by_head = torch.cat(values).unflatten(1, (heads, -1)).flatten(0, 1)
    return KnownTexts(torch.cat(keys), by_head, lengths, heads)

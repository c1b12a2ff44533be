"""Attention of one query per row to cached keys and values of texts, which are read in place.

In shapes ``texts`` is the number of ids of a column and ``tokens`` the number of tokens of all their texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TextKVCache", "append_mask_column", "build_kv_cache", "drop_mask_column", "num_elements"]

_TEXTS_PER_BLOCK = 256


class TextKVCache:
    """Keys and values of the texts of one column of ids, each of at most Z tokens.

    Gathering the keys and values of each row of a batch would cost more than all arithmetic with them. Both
    products are weighted sums of table rows instead (``embedding_bag``), which reads a table in place::

        keys, (texts * (W + 1), Z)           values, (tokens * H, D)

                  token 1 ... token Z                           D elements
        text 1                               text 1
          key[1]  [ .         .    ]           token 1, head 1  [ .  .  . ]
          ...                                  ...
          key[W]  [ .         .    ]           token 1, head H  [ .  .  . ]
          mask    [ 0    0   -inf  ]           token 2, head 1  [ .  .  . ]
        text 2                                 ...
          key[1]  [ .         .    ]         text 2: right after the last token of text 1

    The scores of a head, ``(Z,)``, are the sum of its D key rows, each times an element of the query, and of the
    mask row, whose factor is 1. The output of a head, ``(D,)``, is the sum of the value rows of its tokens, each
    times an attention weight.

    Args:
        keys: ``(texts * (W + 1), Z)``; zeros after a text's end, where the mask row has minus infinity.
        values: ``(tokens * H, D)``.
        lengths: Tokens of each text, ``(texts,)`` int64.
        heads: H.
    """

    def __init__(self, keys: Tensor, values: Tensor, lengths: Tensor, heads: int) -> None:
        self.keys, self.values, self.lengths, self.heads = keys, values, lengths, heads
        fits = max(len(keys), len(values)) < torch.iinfo(torch.int32).max  # halves the memory traffic of indices
        self.dtype = torch.int32 if fits else torch.int64
        self.begins = (lengths.cumsum(0) - lengths).to(self.dtype)
        width = len(keys) // len(lengths) - 1
        key_rows = self._arange(width).view(heads, -1)
        # Rows of a text's keys whose sum are the scores of a head, for all heads, (H * (D + 1),)
        self.summed = torch.cat([key_rows, key_rows.new_full((heads, 1), width)], dim=1).flatten()
        self.columns, self.head_index = self._arange(keys.shape[1]), self._arange(heads).unsqueeze(1)

    def scores(self, query: Tensor, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Attention scores of one query per row.

        Args:
            query: Scaled queries by head, with 1 as the last element (``append_mask_column``), ``(B, H, D + 1)``.
            ids: Text of each row, ``(B,)`` int64.
            lengths: Tokens of each text that are attended to, ``(B,)`` int64; None is all of them.

        Returns:
            ``(B, H, Z)`` in the keys' type, cut to the longest of these texts; minus infinity at other tokens.
        """
        # A text has W + 1 rows of keys; rows: (B, H * (D + 1))
        rows = (ids * (len(self.keys) // len(self.lengths))).to(self.dtype).unsqueeze(1) + self.summed
        scores = _sum_rows(self.keys, rows, query, (len(ids) * self.heads, query.shape[2]))
        seen = self.lengths.index_select(0, ids) if lengths is None else lengths
        scores = scores.view(len(ids), self.heads, -1)[:, :, : max(1, int(seen.max()))]  # (B, H, Z)
        if lengths is not None:
            unseen = self.columns[: scores.shape[2]] >= lengths.unsqueeze(1)
            scores.masked_fill_(unseen.unsqueeze(1), -torch.inf)
        return scores

    def read(self, weights: Tensor, ids: Tensor) -> Tensor:
        """Weighted sums of the values of texts.

        Args:
            weights: Attention weights, ``(B, H, Z)``; zero after a text's end.
            ids: Text of each row, ``(B,)`` int64.

        Returns:
            ``(B, W)``.
        """
        rows, heads, length = weights.shape
        places = self.begins.index_select(0, ids).unsqueeze(1) + self.columns[:length]
        places = places.clamp_(max=len(self.values) // heads - 1)  # after the last text, where weights are zero
        places = places.unsqueeze(1) * heads + self.head_index  # (B, H, Z)
        return _sum_rows(self.values, places, weights, (rows * heads, length)).view(rows, -1)

    def _arange(self, size: int) -> Tensor:
        """Indices from 0 to ``size - 1`` in the type of table indices."""
        return torch.arange(size, device=self.lengths.device, dtype=self.dtype)


def append_mask_column(query: Tensor, heads: int) -> Tensor:
    """Queries ``(rows, W)`` with the mask row's factor, 1, after each head, ``(rows, H, D + 1)``."""
    return F.pad(query.view(len(query), heads, -1), (0, 1), value=1.0)


def drop_mask_column(query: Tensor) -> Tensor:
    """The inverse of ``append_mask_column``, ``(rows, W)``."""
    return query[:, :, :-1].flatten(1)


def _sum_rows(table: Tensor, rows: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weighted sums of rows of a table.

    Args:
        table: ``(table rows, width)``.
        rows: Rows to sum, sum after sum; any shape with as many elements as ``weights``.
        weights: Factor of each row.
        shape: Number of sums, and number of summands of each.

    Returns:
        ``(sums, width)`` in the type of the table.
    """
    weights = weights.to(table.dtype).reshape(-1)
    begins = _begins(*shape, rows.dtype, rows.device)
    return F.embedding_bag(rows.view(-1), table, begins, mode="sum", per_sample_weights=weights)


@lru_cache(maxsize=64)  # the batches of a data set have few different sizes
def _begins(count: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Offsets of ``count`` sums of ``size`` summands each, ``(count,)``."""
    return torch.arange(0, count * size, size, dtype=dtype, device=device)


def num_elements(offsets: Tensor, longest: int, width: int) -> int:
    """Number of elements that ``build_kv_cache`` stores; all texts have as many key columns as the longest one.

    Args:
        offsets: As for ``build_kv_cache``.
        longest: As for ``build_kv_cache``.
        width: W.
    """
    lengths = offsets.diff().clamp(max=longest)
    return int(len(lengths) * lengths.max() * (width + 1) + lengths.sum() * width)


def build_kv_cache(
    offsets: Tensor, longest: int, heads: int, keys_values: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> TextKVCache:
    """Computes and stores the keys and values of a column's texts, in blocks of texts.

    Args:
        offsets: Where the tokens of each text begin among the states of a table, ``(texts + 1,)``.
        longest: Maximum number of tokens of a text; the end of a longer one is cut.
        heads: H.
        keys_values: Computes keys and values, ``(block tokens, W)`` each, of tokens with these indices,
            ``(block tokens,)``.
    """
    lengths = offsets.diff().clamp(max=longest)
    column = torch.arange(max(1, int(lengths.max())), device=offsets.device)
    keys, values = [], []
    for ids in torch.arange(len(lengths), device=offsets.device).split(_TEXTS_PER_BLOCK):
        inside = column < lengths[ids].unsqueeze(1)
        key, value = keys_values((offsets[ids].unsqueeze(1) + column)[inside])
        padded = key.new_zeros(*inside.shape, key.shape[1] + 1)  # (block, Z, W + 1)
        padded[..., -1].masked_fill_(~inside, -torch.inf)
        padded[..., :-1][inside] = key
        keys.append(padded.transpose(1, 2).flatten(0, 1))  # (block * (W + 1), Z)
        values.append(value)
    by_head = torch.cat(values).unflatten(1, (heads, -1)).flatten(0, 1)  # (tokens * H, D)
    return TextKVCache(torch.cat(keys), by_head, lengths, heads)

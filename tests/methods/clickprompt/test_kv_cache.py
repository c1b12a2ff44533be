"""Cached keys and values, read in place, against plain attention row by row."""

import pytest
import torch

from recbole_clickprompt.methods.clickprompt.inference.kv_cache import (
    append_mask_column,
    build_kv_cache,
    num_elements,
)

_HEADS, _WIDTH = 3, 12
_LENGTHS = [4, 1, 0, 9, 2]  # of the texts; the fourth is cut to 6


def plain_attention(query, keys, values):
    """Scores ``(H, Z)`` and values read with their softmax, ``(W,)``, of one query ``(W,)``."""
    by_head = [part.view(-1, _HEADS, _WIDTH // _HEADS) for part in (query.unsqueeze(0), keys, values)]
    scores = torch.einsum("qhd,zhd->hz", *by_head[:2])
    return scores, torch.einsum("hz,zhd->hd", scores.softmax(1), by_head[2]).flatten()


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_attention_to_cached_texts_is_attention_to_each_rows_text(dtype, tolerance, cut, monkeypatch):
    monkeypatch.setattr("recbole_clickprompt.methods.clickprompt.inference.kv_cache._TEXTS_PER_BLOCK", 2)
    torch.manual_seed(0)
    offsets = torch.tensor([7, *_LENGTHS]).cumsum(0)  # other texts come first
    keys, values = torch.randn(2, int(offsets[-1]), _WIDTH)
    cache = build_kv_cache(offsets, 6, _HEADS, lambda at: (keys[at].to(dtype), values[at].to(dtype)))

    assert cache.keys.numel() + cache.values.numel() == num_elements(offsets, 6, _WIDTH)
    ids = torch.tensor([3, 0, 4, 3, 1, 2])
    lengths = torch.tensor([6, 4, 2, 5 if cut else 6, 1, 0])  # of the fourth text, five tokens are seen in a row
    query = torch.randn(len(ids), _WIDTH)
    scores = cache.scores(append_mask_column(query.to(dtype), _HEADS), ids, lengths if cut else None)
    assert scores.shape == (6, _HEADS, 6)
    assert scores.dtype == dtype
    scores = scores.float()
    read = cache.read(scores.softmax(2).nan_to_num(), ids).float()
    for row, (text, length) in enumerate(zip(ids.tolist(), lengths.tolist(), strict=True)):
        assert scores[row, :, length:].eq(-torch.inf).all()
        of_text = slice(int(offsets[text]), int(offsets[text]) + length)
        expected, attended = plain_attention(query[row], keys[of_text], values[of_text])
        torch.testing.assert_close(scores[row, :, :length], expected, rtol=0, atol=tolerance)
        torch.testing.assert_close(read[row], attended, rtol=0, atol=tolerance)


def test_rows_without_text_read_nothing():
    cache = build_kv_cache(torch.tensor([0, 0, 2]), 6, _HEADS, lambda at: (torch.ones(*at.shape, _WIDTH),) * 2)
    ids = torch.zeros(2, dtype=torch.long)
    scores = cache.scores(append_mask_column(torch.ones(2, _WIDTH), _HEADS), ids)
    assert scores.shape == (2, _HEADS, 1)
    assert scores.eq(-torch.inf).all()
    assert cache.read(torch.zeros_like(scores), ids).eq(0).all()

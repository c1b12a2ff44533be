"""Both forms of attention are one function."""

import pytest
import torch

from recbole_clickprompt.plm.attention import _unfused, attend

B, P, N, H, D = 3, 4, 7, 2, 5


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_unfused_equals_the_fused_kernel(with_bias, scale):
    torch.manual_seed(0)
    query, key, value = (torch.randn(B, n, H * D, requires_grad=True) for n in (P, N, N))
    mask = torch.rand(B, 1, 1, N) > 0.3
    mask[..., 0] = True
    bias = torch.randn(B, H, P, N) if with_bias else None
    fused = attend(query, key, value, heads=H, mask=mask, bias=bias, dropout=0.0, scale=scale)
    split = [s.unflatten(2, (H, D)).transpose(1, 2) for s in (query, key, value)]
    parts = _unfused(*split, mask=mask, bias=bias, dropout=0.0, scale=scale).transpose(1, 2).flatten(2)
    torch.testing.assert_close(parts, fused)
    weights = torch.randn_like(fused)
    gradients = [torch.autograd.grad((out * weights).sum(), (query, key, value)) for out in (fused, parts)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bf16_training_is_within_rounding_of_float32():
    torch.manual_seed(0)
    states = [torch.randn(B, n, H * D) for n in (P, N, N)]
    mask = torch.ones(B, 1, 1, N, dtype=torch.bool)
    options = {"heads": H, "mask": mask, "bias": None, "dropout": 0.0, "scale": None}
    exact = attend(*states, **options)
    rounded = attend(*(s.bfloat16().requires_grad_() for s in states), **options)
    assert rounded.requires_grad
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.02)


def test_dropout_drops_weights():
    value = torch.ones(1, 1, 1000, 1, dtype=torch.bfloat16)
    query, key = torch.zeros(1, 1, 1, 1).bfloat16(), torch.zeros(1, 1, 1000, 1).bfloat16()
    mask = torch.ones(1, 1, 1, 1000, dtype=torch.bool)
    torch.manual_seed(0)
    outs = {_unfused(query, key, value, mask=mask, bias=None, dropout=0.5, scale=None).item() for _ in range(8)}
    assert len(outs) > 1
    assert 0.8 < sum(outs) / len(outs) < 1.2

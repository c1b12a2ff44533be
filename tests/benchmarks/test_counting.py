"""Operations counted by hand."""

import torch
from torch.nn import functional as F

from benchmarks.stages.counting import counted
from benchmarks.stages.memory import peak_above_base


def test_a_product_counts_two_a_multiplication_and_its_backward_twice_that():
    weight = torch.randn(5, 4, requires_grad=True)
    inputs = torch.randn(3, 4, requires_grad=True)
    forward = counted(lambda: F.linear(inputs, weight))
    assert forward.flop == 2 * 3 * 4 * 5
    assert forward.attention == "math"
    assert counted(lambda: F.linear(inputs, weight).sum().backward()).flop == 3 * 2 * 3 * 4 * 5


def test_attention_counts_whoever_serves_it():
    query, key = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 6, 8)  # (B, H, P, D), (B, H, Z, D)
    by_hand = 2 * (2 * 2 * 3 * 4 * 6 * 8)  # scores, then values
    fused = counted(lambda: F.scaled_dot_product_attention(query, key, key))
    assert (fused.flop, fused.attention) == (by_hand, "flash_attention_for_cpu")
    dropped = counted(lambda: F.scaled_dot_product_attention(query, key, key, dropout_p=0.5))
    assert (dropped.flop, dropped.attention) == (by_hand, "math")
    assert fused.result.shape == (2, 3, 4, 8)


def test_memory_is_the_peak_and_not_what_stays():
    def call():
        torch.ones(64 << 18)  # 64 MiB of float32, freed at once
        torch.ones(16 << 18)

    assert 63 < peak_above_base(call) < 90

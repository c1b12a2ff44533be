"""Dropout by 16 random bits an element."""

import pytest
import torch
from torch import nn

from recbole_clickprompt.plm.dropout import Dropout, dropout, replace_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_becomes_zero_and_the_rest_is_scaled_up(dtype):
    torch.manual_seed(0)
    out = dropout(torch.ones(1001, 999, dtype=dtype), 0.1)
    values, counts = out.float().unique(return_counts=True)
    assert values.tolist() == [0.0, torch.tensor(1 / 0.9, dtype=dtype).float().item()]
    assert counts[0].item() / out.numel() == pytest.approx(0.1, abs=0.001)  # s.d. 0.0003
    # Neighbours, who share one draw of the generator, fall together no more often than others
    zero = out.float().flatten()[: 4 * (out.numel() // 4)].view(-1, 4) == 0
    for left, right in ((0, 1), (1, 2), (2, 3), (0, 3)):
        assert (zero[:, left] & zero[:, right]).float().mean().item() == pytest.approx(0.01, abs=0.001)


def test_gradients_pass_where_values_do():
    torch.manual_seed(0)
    states = torch.randn(7, 11, requires_grad=True)
    out = dropout(states, 0.5)
    out.sum().backward()
    torch.testing.assert_close(states.grad, torch.where(out == 0, 0.0, 2.0))


def test_rates_at_the_ends():
    states = torch.randn(3, 5)
    assert dropout(states, 0.0) is states
    assert not dropout(states, 1.0).any()


def test_a_seed_determines_it_and_the_generator_moves_on():
    def drawn():
        return dropout(torch.ones(50), 0.5)

    torch.manual_seed(3)
    first, second = drawn(), drawn()
    torch.manual_seed(3)
    torch.testing.assert_close(drawn(), first)
    assert (first != second).any()


def test_a_models_dropouts_are_replaced_and_keep_their_rates():
    model = nn.Sequential(nn.Dropout(0.2), nn.ModuleDict({"inside": nn.Dropout(0.3)}))
    replace_dropout(model)
    assert [(type(m), m.p) for m in model.modules() if isinstance(m, nn.Dropout)] == [
        (Dropout, 0.2),
        (Dropout, 0.3),
    ]
    states = torch.ones(4, 4)
    assert model[0].eval()(states) is states
    replace_dropout(model, nn.Dropout)
    assert [type(m) for m in model.modules() if isinstance(m, nn.Dropout)] == [nn.Dropout, nn.Dropout]

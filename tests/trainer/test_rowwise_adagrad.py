"""Row-wise Adagrad for embedding tables, and Adagrad for all other weights."""

import math

import pytest
import torch
from torch import nn

from recbole_clickprompt.trainer.optimizer import build_optimizer


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.zeros(4, 2), freeze=False)
        self.scale = nn.Parameter(torch.ones(2))

    def pretrained_parameters(self):
        return []


@pytest.fixture
def model():
    return Model()


def optimizer_of(model):
    return build_optimizer(
        model, learner="rowwise_adagrad", learning_rate=0.5, plm_learning_rate=0.0, weight_decay=0.0
    )


def test_two_steps_by_hand(model):
    optimizer = optimizer_of(model)
    for slope in ([3.0, 1.0], [0.0, 2.0]):
        optimizer.zero_grad()
        # Row 1 is read twice, so its gradient is twice the slope
        (model.table(torch.tensor([1, 1])) * torch.tensor(slope)).sum().backward()
        optimizer.step()
    first, second = (6**2 + 2**2) / 2, (6**2 + 2**2) / 2 + 4**2 / 2
    expected = [-0.5 * 6 / math.sqrt(first), -0.5 * 2 / math.sqrt(first) - 0.5 * 4 / math.sqrt(second)]
    assert model.table.weight[1].tolist() == pytest.approx(expected)
    assert not model.table.weight[[0, 2, 3]].any()
    assert optimizer.state[model.table.weight]["sum"].tolist() == pytest.approx([0, second, 0, 0])


def test_other_weights_have_adagrad(model):
    optimizer = optimizer_of(model)
    (model.scale * torch.tensor([2.0, -3.0])).sum().backward()
    optimizer.step()
    assert model.scale.tolist() == pytest.approx([0.5, 1.5])  # each by the learning rate


def test_its_state_is_one_number_per_row_and_can_be_restored(model):
    optimizer = optimizer_of(model)
    model.table(torch.tensor([1])).sum().backward()
    optimizer.step()
    other = optimizer_of(Model())
    other.load_state_dict(optimizer.state_dict())
    (restored,) = [state["sum"] for state in other.state.values() if state["sum"].shape == (4,)]
    assert restored.tolist() == pytest.approx([0, 1, 0, 0])

"""Parameter groups and schedules."""

import pytest
import torch
from torch import nn

from recbole_clickprompt.trainer.optimizer import build_optimizer, build_scheduler


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.plm = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))

    def pretrained_parameters(self):
        return list(self.plm.parameters())


def build(plm_rate=0.1, learner="adamw", **options):
    model = Model()
    optimizer = build_optimizer(
        model, learner=learner, learning_rate=1.0, plm_learning_rate=plm_rate, weight_decay=0.5, **options
    )
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    return model, {name: rates.get(id(p)) for name, p in model.named_parameters()}


def test_each_module_trains_at_its_rate_biases_and_norms_included():
    _, rates = build()
    assert rates == {
        "backbone.weight": (1.0, 0.5),
        "backbone.bias": (1.0, 0.0),
        "plm.0.weight": (0.1, 0.5),
        "plm.0.bias": (0.1, 0.0),
        "plm.1.weight": (0.1, 0.0),
        "plm.1.bias": (0.1, 0.0),
    }


@pytest.mark.parametrize(("weight_decay", "groups"), [(0.0, 2), (0.5, 4)])
def test_what_learns_alike_is_one_group(weight_decay, groups):
    """As each takes a call of the optimiser."""
    optimizer = build_optimizer(
        Model(), learner="adamw", learning_rate=1.0, plm_learning_rate=0.1, weight_decay=weight_decay
    )
    assert len(optimizer.param_groups) == groups
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(Model().parameters()))


def test_a_plm_at_rate_0_is_frozen_and_left_out():
    model, rates = build(plm_rate=0.0)
    left_out = {name for name, rate in rates.items() if rate is None}
    assert left_out == {"plm.0.weight", "plm.0.bias", "plm.1.weight", "plm.1.bias"}
    assert not any(p.requires_grad for p in model.plm.parameters())
    assert all(p.requires_grad for p in model.backbone.parameters())


@pytest.mark.parametrize("learner", ["adam", "adamw", "sgd", "adagrad", "rmsprop"])
def test_every_learner_takes_a_step(learner):
    model = Model()
    optimizer = build_optimizer(model, learner=learner, learning_rate=0.1, plm_learning_rate=0.1, weight_decay=0.0)
    before = model.backbone.weight.clone()
    model.backbone(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.backbone.weight, before)


@pytest.mark.parametrize(
    ("name", "warmup", "expected"),
    [
        ("constant", 0.0, [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", 0.0, [1.0, 0.75, 0.5, 0.25, 0.0]),
        ("cosine", 0.0, [1.0, 0.853553, 0.5, 0.146447, 0.0]),
        ("linear", 0.5, [1 / 3, 2 / 3, 1.0, 0.5, 0.0]),
    ],
)
def test_rates_warm_up_and_decay(name, warmup, expected):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = build_scheduler(optimizer, name=name, steps=4, warmup_ratio=warmup)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected, abs=1e-6)

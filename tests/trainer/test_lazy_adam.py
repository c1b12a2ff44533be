"""Row-wise updates: those of AdamW for the rows that a batch reads, and nothing for the others."""

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.trainer.lazy_adam import clip_gradients
from recbole_clickprompt.trainer.optimizer import build_optimizer, build_scheduler
from recbole_clickprompt.trainer.stage import TrainingStage, autocast
from tests.trainer.whole_run import RUN, whole_run


class Model(nn.Module):
    """Reads rows of a table of 6 rows, and all of a PLM's of as many."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.top, self.plm = nn.Embedding(6, 2), nn.Linear(2, 1), nn.Embedding(6, 2)

    def pretrained_parameters(self):
        return list(self.plm.parameters())

    def forward(self, rows):
        return (self.top(self.table(torch.tensor(rows))).tanh() + self.plm.weight.mean()).sum()


def build(at_least=6, learner="adamw", **settings):
    rates = {"learning_rate": 0.1, "plm_learning_rate": 0.1, "weight_decay": 0.0, **settings}
    model = Model()
    return model, build_optimizer(model, learner=learner, lazy_embedding_min_rows=at_least, **rates)


def step(model, optimizer, *batches):
    """One step on the sum of some micro-batches; gives the table's gradient."""
    optimizer.zero_grad()
    for rows in batches:
        model(rows).backward()
    gradient = model.table.weight.grad
    optimizer.step()
    return gradient


def read(model, optimizer, gradients):
    """One step in which rows, ``{row: what both its numbers have as gradient}``, are all that is read."""
    optimizer.zero_grad()
    rows = torch.tensor(list(gradients))
    (model.table(rows) * torch.tensor(list(gradients.values())).unsqueeze(1)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("learner", ["adam", "adamw"])
def test_where_every_batch_reads_every_row_it_is_the_dense_update(learner):
    both = [build(at_least, learner, weight_decay=0.3) for at_least in (None, 6)]
    for model, optimizer in both:
        scheduler = build_scheduler(optimizer, name="cosine", steps=8, warmup_ratio=0.25)
        for number in range(8):
            gradient = step(model, optimizer, [0, 1, 2, 3], [number % 6, 5, 4, 3, 3])
            scheduler.step()
        assert gradient.is_sparse is (model is both[1][0])
    (dense, dense_optimizer), (rowwise, rowwise_optimizer) = both
    for ours, theirs in zip(rowwise.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        for name, value in rowwise_optimizer.state[ours].items():
            torch.testing.assert_close(value, dense_optimizer.state[theirs][name], rtol=0, atol=1e-6)


def test_without_decay_it_is_torchs_sparse_adam():
    model, optimizer = build()
    table = nn.Parameter(model.table.weight.detach().clone())
    theirs = torch.optim.SparseAdam([table], lr=0.1)
    for rows in ([0, 1], [1, 1, 2], [5], [0, 1, 2]):
        table.grad = step(model, optimizer, rows)
        theirs.step()
    # it adds epsilon before the bias is corrected, as Adam does not
    torch.testing.assert_close(model.table.weight.detach(), table.detach(), rtol=0, atol=1e-5)


def test_rows_that_no_batch_reads_and_their_moments_stay_bit_for_bit():
    model, optimizer = build(weight_decay=0.3)
    step(model, optimizer, [0, 1, 2, 3, 4, 5])
    state = optimizer.state[model.table.weight]
    wholes = [model.table.weight.detach(), state["exp_avg"], state["exp_avg_sq"]]
    before = [whole.clone() for whole in wholes]
    for _ in range(3):
        step(model, optimizer, [1, 4])
    for now, then in zip(wholes, before, strict=True):
        assert torch.equal(now[[0, 2, 3, 5]], then[[0, 2, 3, 5]])
        assert (now[[1, 4]] != then[[1, 4]]).all()


def test_bias_is_corrected_by_the_number_of_steps():
    model, optimizer = build()
    start = model.table.weight.detach().clone()
    read(model, optimizer, {0: 1.0})
    read(model, optimizer, {2: -3.0})
    # row 0, at step 1: 0.1 * (0.1 / 0.1) / (0.001 / 0.001)**0.5
    # row 2, at step 2: 0.1 * (0.3 / 0.19) / (0.009 / 0.001999)**0.5
    moved = torch.tensor([-0.1, 0.0, 0.0744136, 0.0, 0.0, 0.0])
    torch.testing.assert_close(model.table.weight - start, moved.unsqueeze(1).expand(6, 2), rtol=0, atol=1e-6)


def test_what_a_row_gets_from_several_places_and_micro_batches_is_summed():
    model, optimizer = build()
    rows = torch.tensor([3, 1, 3])
    for slopes in ([1.0, 5.0, 2.0], [4.0, 6.0, 0.0]):
        (model.table(rows) * torch.tensor(slopes).unsqueeze(1)).sum().backward()
    optimizer.step()
    state = optimizer.state[model.table.weight]
    torch.testing.assert_close(state["exp_avg"][:, 0], torch.tensor([0, 1.1, 0, 0.7, 0, 0]))
    torch.testing.assert_close(state["exp_avg_sq"][:, 1], torch.tensor([0, 0.121, 0, 0.049, 0, 0]))


def test_weights_of_read_rows_alone_decay():
    model, optimizer = build(weight_decay=0.5)
    start = model.table.weight.detach().clone()
    read(model, optimizer, {1: 0.0, 2: 0.0})
    read(model, optimizer, {2: 0.0})
    factors = torch.tensor([1.0, 0.95, 0.95**2, 1.0, 1.0, 1.0]).unsqueeze(1)
    torch.testing.assert_close(model.table.weight.detach(), start * factors)


@pytest.mark.parametrize(("at_least", "is_sparse"), [(None, False), (7, False), (6, True), (1, True)])
def test_large_tables_are_meant_and_the_plms_never(at_least, is_sparse):
    model, optimizer = build(at_least)
    assert step(model, optimizer, [0, 1]).is_sparse is is_sparse
    rowwise = [p for group in optimizer.param_groups if group["rowwise"] for p in group["params"]]
    assert len(rowwise) == is_sparse
    assert not model.plm.sparse


@pytest.mark.parametrize("learner", ["sgd", "adagrad", "rmsprop"])
def test_learners_that_update_no_single_rows_are_refused(learner):
    build(None, learner)
    with pytest.raises(SettingError, match=f"requires learner adam or adamw, got '{learner}'; use one"):
        build(1, learner)


@pytest.mark.parametrize("norm_type", [2.0, float("inf")])
def test_gradients_are_clipped_as_dense_ones_are(norm_type):
    (dense, _), (rowwise, _) = build(None), build()
    for model in (dense, rowwise):
        for rows in ([1, 1, 4], [4, 0]):
            model(rows).backward()
    expected = clip_grad_norm_(dense.parameters(), 0.05, norm_type)
    torch.testing.assert_close(clip_gradients(rowwise.parameters(), max_norm=0.05, norm_type=norm_type), expected)
    assert expected > 0.05
    for ours, theirs in zip(rowwise.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.to_dense(), theirs.grad)
    assert rowwise.table.weight.grad.is_sparse


def gradients_of(backbone, rows, *, at_least, amp):
    """Of all parameters of a backbone, in training with the same dropout at every call."""
    rates = {"learning_rate": 0.1, "plm_learning_rate": 0.0, "weight_decay": 0.1}
    build_optimizer(backbone, learner="adamw", lazy_embedding_min_rows=at_least, **rates).zero_grad()
    backbone.amp = amp
    torch.manual_seed(0)
    with autocast(torch.device("cpu"), amp):
        q, logit = backbone(rows)
        (logit.sum() + q.float().square().sum()).backward()
    return [p.grad for p in backbone.parameters()]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_tables_of_every_backbone_get_sparse_gradients_equal_to_dense_ones(make_config, make_data, name):
    config = make_config("ClickPromptNoPLM", backbone=name)
    dataset = make_data(config)[0]._dataset
    backbone, rows = build_backbone(config, dataset), dataset[torch.arange(20)]
    backbone.pretrained_parameters = list
    tables = {id(module.weight) for module in backbone.modules() if isinstance(module, nn.Embedding)}
    for amp in (False, True):
        dense, rowwise = (gradients_of(backbone, rows, at_least=at_least, amp=amp) for at_least in (None, 1))
        reached = 0
        for parameter, theirs, ours in zip(backbone.parameters(), dense, rowwise, strict=True):
            if theirs is not None:
                assert ours.is_sparse is (id(parameter) in tables)
                reached += ours.is_sparse
                torch.testing.assert_close(ours.to_dense(), theirs)
        assert reached


@pytest.mark.parametrize("model", ["ClickPrompt", "ClickPromptNoPLM"])
def test_a_run_learns_with_both_stages_row_by_row(make_config, make_data, monkeypatch, model):
    seen, train_batch = set(), TrainingStage.train_batch

    def noting(stage, interaction):
        seen.add((stage.name, stage.optimizer.param_groups[0]["rowwise"]))
        return train_batch(stage, interaction)

    monkeypatch.setattr(TrainingStage, "train_batch", noting)
    settings = {**RUN, "plm_num_layers": 1, "pretrain_epochs": 1, "epochs": 4, "learning_rate": 0.03}
    config = make_config(model=model, **settings, lazy_embedding_min_rows=50, weight_decay=0.1)
    outcome = whole_run(config, make_data(config))
    assert seen == {("pretrain", True), ("finetune", True)}
    losses = list(outcome["losses"].values())
    assert losses[-1] < losses[0] - 0.1
    assert outcome["test"]["auc"] > 0.75

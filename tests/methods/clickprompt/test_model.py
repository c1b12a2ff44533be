"""The finetune models as RecBole sees them."""

import copy

import pytest
import torch
from torch.nn import functional as F

from recbole_clickprompt.methods.clickprompt.model import ClickPrompt, ClickPromptNoPLM, NoPrompts


@pytest.fixture
def setting(make_config, make_data):
    config = make_config(plm_dropout=0.0, micro_batch_size=8)
    dataset = make_data(config)[0]._dataset
    torch.manual_seed(0)
    return ClickPrompt(config, dataset), dataset[torch.arange(32)]


def test_the_score_fuses_both_logits(setting):
    model, rows = setting
    model.fusion_weight.data.fill_(0.3)
    ctr, plm = model.logits(rows)
    torch.testing.assert_close(model.predict(rows), torch.sigmoid(0.3 * ctr + 0.7 * plm), rtol=0, atol=1e-6)
    assert ctr.std() > 0
    assert plm.std() > 0


def test_the_fusion_weight_starts_at_one_half_and_learns(setting):
    model, rows = setting
    assert model.fusion_weight.item() == 0.5
    model.calculate_loss(rows).backward()
    assert model.fusion_weight.grad.abs() > 0


def test_the_loss_is_the_binary_cross_entropy(setting):
    model, rows = setting
    expected = F.binary_cross_entropy(model.predict(rows), rows["label"].float())
    torch.testing.assert_close(model.calculate_loss(rows), expected)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_loss_is_that_of_each_tower(setting, share):
    model, rows = setting
    model.tower_loss_weight = share
    labels = rows["label"].float()
    ctr, plm = (F.binary_cross_entropy(torch.sigmoid(logit), labels) for logit in model.logits(rows))
    fused = F.binary_cross_entropy(model.predict(rows), labels)
    torch.testing.assert_close(model.calculate_loss(rows), (1 - share) * fused + share * (ctr + plm) / 2)


def test_towers_that_learn_apart_do_not_feel_what_the_other_one_tells(make_config, make_data):
    config = make_config(plm_dropout=0.0, finetune_prompts=False, tower_loss_weight=1.0)
    dataset = make_data(config)[0]._dataset
    model, rows = ClickPrompt(config, dataset), dataset[torch.arange(32)]

    def gradient():
        table = model.backbone.model.token_embedding_table.embedding.weight
        return torch.autograd.grad(model.calculate_loss(rows), table)[0]

    before = gradient()
    torch.nn.init.constant_(model.head[-1].bias, 3.0)
    torch.testing.assert_close(gradient(), before)
    model.tower_loss_weight = 0.5
    assert not torch.allclose(gradient(), before, rtol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"plm_pooling": "avg"},
        {"plm_interaction_layers": 1},
        {"prompt_strategy": "input"},
        {"prompt_projection": "shared_kv"},
        {"plm_gradient_checkpointing": True},
    ],
)
def test_a_row_whose_prompts_are_dropped_is_read_by_the_plain_plm(make_config, make_data, tmp_path, settings):
    config = make_config(plm_dropout=0.0, prompt_dropout=0.5, checkpoint_dir=str(tmp_path), **settings)
    dataset = make_data(config)[0]._dataset
    torch.manual_seed(0)
    model, rows = ClickPrompt(config, dataset).eval(), dataset[torch.arange(32)]
    prompted = model.logits(rows)[1]
    prompts, model.prompt = model.prompt, NoPrompts()
    plain = model.logits(rows)[1]
    assert not torch.isclose(prompted, plain, atol=1e-4).any()
    model.prompt = prompts
    model.train()
    model.backbone.eval()  # its dropout changes q
    mixed = [model.logits(rows)[1] for _ in range(2)]
    for logits in mixed:
        dropped = torch.isclose(logits, plain, atol=1e-6)
        assert 4 < dropped.sum() < 28
        torch.testing.assert_close(logits[~dropped], prompted[~dropped], rtol=0, atol=1e-6)
    assert not torch.equal(*mixed)
    model.prompt_dropout = 0.0
    torch.testing.assert_close(model.logits(rows)[1], prompted, rtol=0, atol=1e-6)


def test_four_micro_batches_of_8_equal_one_of_32(setting):
    model, rows = setting

    def gradients(size):
        model.zero_grad()
        sum(weight * model.calculate_loss(part) for part, weight in model.split(rows, size)).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    for whole, parts in zip(gradients(32), gradients(8), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


def test_permuting_rows_permutes_scores(setting):
    model, rows = setting
    order = torch.randperm(32)
    torch.testing.assert_close(model.predict(rows[order]), model.predict(rows)[order], rtol=0, atol=1e-6)


def test_the_plm_logit_reaches_the_backbones_embeddings(setting):
    model, rows = setting
    table = model.backbone.model.token_embedding_table.embedding.weight
    (gradient,) = torch.autograd.grad(model.logits(rows)[1].sum(), table)
    assert gradient.abs().sum() > 0


def test_a_copy_predicts_the_same(setting):
    # RecBole counts FLOPs on a deep copy
    model, rows = setting
    assert torch.equal(copy.deepcopy(model).predict(rows), model.predict(rows))


def test_bf16_scores_are_close_to_those_of_float32_and_not_rounded(setting):
    model, rows = setting
    exact = model.predict(rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = model.predict(rows)
    assert fast.dtype is torch.float32
    torch.testing.assert_close(fast, exact, rtol=0, atol=0.02)
    assert not torch.equal(fast, fast.bfloat16().float())


def test_without_plm_the_model_holds_a_backbone_and_nothing_else(make_config, make_data):
    config = make_config("ClickPromptNoPLM", plm="/no/plm/anywhere")
    dataset = make_data(config)[0]._dataset
    model = ClickPromptNoPLM(config, dataset)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"backbone"}
    assert model.predict(dataset[torch.arange(4)]).shape == (4,)

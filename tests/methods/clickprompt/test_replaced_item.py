"""Replaced items: what is replaced, how parts add up, and that who meets what is learnt from it."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_clickprompt.methods.clickprompt.builders import build_pretraining
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.clickprompt.replaced_item import ItemPairs, ReplacedItem, item_fields
from recbole_clickprompt.trainer.running_metrics import compute_and_reset

ALONE, BESIDE = ["replaced_item"], ["mlm", "replaced_item"]
CPU = torch.device("cpu")


def build(make_config, make_data, objectives=ALONE, **settings):
    config = make_config(pretrain_objectives=objectives, dropout_prob=0.0, plm_dropout=0.0, **settings)
    dataset = make_data(config)[0]._dataset
    torch.manual_seed(0)
    return build_pretraining(config, dataset), dataset


@pytest.fixture(scope="module")
def alone(make_config, make_data):
    return build(make_config, make_data)


def pairs_of(model, rows):
    ((pairs, weight),) = model.split(rows, 8)
    assert weight == 1.0
    return pairs


def test_each_row_gets_the_whole_item_of_another_row_and_keeps_all_else(alone):
    model, dataset = alone
    rows = dataset[torch.arange(64)]
    actual, replaced = pairs_of(model, rows)
    fields = item_fields(dataset)
    assert {"item_id", "title", "genre"} <= set(fields)
    assert not {"user_id", "gender", "label"} & set(fields)
    assert actual is rows
    for name in rows.columns:
        if name not in fields:
            assert torch.equal(replaced[name], rows[name])
    for name in fields:
        if name != "item_id":  # its features came with it
            assert torch.equal(replaced[name], dataset.item_feat[name][replaced["item_id"]])
    assert torch.equal(replaced["item_id"].sort().values, rows["item_id"].sort().values)


@pytest.mark.parametrize("number", [2, 3, 50])
def test_no_row_keeps_its_own_item(alone, number):
    model, _ = alone
    rows = Interaction({"user_id": torch.arange(number), "item_id": torch.arange(number)})
    for _ in range(20):
        assert not (pairs_of(model, rows).replaced["item_id"] == torch.arange(number)).any()


def test_a_row_alone_has_no_other_to_take_an_item_from(alone):
    model, dataset = alone
    assert model.split(dataset[torch.arange(1)], 8) == []


def test_where_items_have_no_features_the_id_alone_is_replaced(alone):
    dataset = alone[1].copy(alone[1].inter_feat)
    dataset.item_feat = None
    assert item_fields(dataset) == ["item_id"]


def test_the_loss_is_that_of_telling_both_kinds_apart(alone):
    model, dataset = alone
    pairs = pairs_of(model, dataset[torch.arange(32)])
    model.eval()
    with torch.no_grad():
        actual, replaced = model.logits(pairs).split(32)
        expected = -torch.cat([actual.sigmoid().log(), (1 - replaced.sigmoid()).log()]).mean()
        compute_and_reset(model.metrics, CPU)
        assert model.calculate_loss(pairs).item() == pytest.approx(expected.item(), abs=1e-6)
    right = torch.cat([actual > 0, replaced <= 0]).float().mean().item()
    assert compute_and_reset(model.metrics, CPU) == {
        "replaced_item_loss": pytest.approx(expected.item(), abs=1e-6),
        "replaced_item_accuracy": pytest.approx(right),
    }


def test_labels_are_never_read(alone):
    model, dataset = alone
    model.eval()
    actual, replaced = pairs_of(model, dataset[torch.arange(32)])

    def loss(label):
        given = [Interaction({**part.interaction, "label": label}) for part in (actual, replaced)]
        return model.calculate_loss(ItemPairs(*given)).item()

    assert loss(torch.zeros(32)) == loss(torch.ones(32))


def test_shares_of_a_part_add_up_to_it(alone):
    model, dataset = alone
    model.eval()
    pairs = pairs_of(model, dataset[torch.arange(31)])
    assert model.rows(pairs) == 31
    parts = [model.select(pairs, torch.arange(first, 31, 3)) for first in range(3)]
    together = sum(weight * model.calculate_loss(part) for part, weight in parts)
    torch.testing.assert_close(together, model.calculate_loss(pairs), rtol=0, atol=1e-6)


def test_who_meets_what_is_learnt_and_from_nothing_else(make_config, make_data):
    """Users meet items of their own parity; features and frequencies tell nothing."""
    model, dataset = build(make_config, make_data, backbone="FM")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    template = dataset[torch.zeros(512, dtype=torch.long)].interaction

    def rows(*, planted):
        user, item = torch.randint(1, 21, (512,)), torch.randint(1, 21, (512,))
        if planted:
            item = (item - 1) // 2 * 2 + 1 + (user + 1) % 2
        return Interaction({**template, "user_id": user, "item_id": item})

    def accuracy(*, planted):
        torch.manual_seed(0)
        for _ in range(60):
            optimizer.zero_grad()
            model.calculate_loss(pairs_of(model, rows(planted=planted))).backward()
            optimizer.step()
        compute_and_reset(model.metrics, CPU)
        with torch.no_grad():
            model.calculate_loss(pairs_of(model, rows(planted=planted)))
        return compute_and_reset(model.metrics, CPU)["replaced_item_accuracy"]

    assert accuracy(planted=False) < 0.6
    assert accuracy(planted=True) > 0.7  # half of the replaced items are of the right parity: 0.75 is the most


def test_beside_pamlm_both_losses_are_those_of_each_alone(make_config, make_data):
    model, dataset = build(make_config, make_data, BESIDE, replaced_item_weight=3.0)
    assert isinstance(model, PAMLM)
    assert isinstance(model.detector, ReplacedItem)
    assert model.detector.backbone is model.backbone
    *masked, (pairs, weight) = model.split(dataset[torch.arange(32)], 8)
    assert len(masked) == 4
    assert isinstance(pairs, ItemPairs)
    assert weight == 3.0
    assert sum(share for _, share in masked) == pytest.approx(1.0)
    model.calculate_loss(pairs).backward()
    assert model.backbone.model.token_embedding_table.embedding.weight.grad.abs().sum() > 0
    assert model.detector.head.weight.grad is not None
    assert all(p.grad is None for p in [*model.plm.parameters(), *model.prompt.parameters()])
    for part, _ in masked:
        model.calculate_loss(part)
    figures = compute_and_reset(model.metrics, CPU)
    assert list(figures) == ["mlm_loss", "mlm_accuracy", "replaced_item_loss", "replaced_item_accuracy"]
    assert figures["mlm_loss"] > figures["replaced_item_loss"] > 0


@pytest.mark.parametrize("backbone", ["AutoInt", "DNN", "FFM", "FwFM", "LR", "xDeepFM"])
def test_any_backbone_detects(make_config, make_data, backbone):
    model, dataset = build(make_config, make_data, backbone=backbone)
    model.calculate_loss(pairs_of(model, dataset[torch.arange(16)])).backward()
    assert sum(p.grad.abs().sum() for p in model.backbone.parameters() if p.grad is not None) > 0

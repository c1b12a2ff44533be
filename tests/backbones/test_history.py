"""Histories and other vectors as fields of every backbone that takes them, and DIN."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender

from recbole_clickprompt.backbones import BACKBONES, WITHOUT_VECTORS
from recbole_clickprompt.backbones.adapter import build_backbone, recbole_model
from recbole_clickprompt.backbones.dice import Dice
from recbole_clickprompt.backbones.history import Clicks, TargetAttention
from recbole_clickprompt.backbones.vector_fields import ColumnVectors, with_vector_fields
from recbole_clickprompt.backbones.weighted_sum import weighted_sum
from recbole_clickprompt.errors import SettingError

WITH_VECTORS = [name for name in BACKBONES if name not in (*WITHOUT_VECTORS, "DIN")]
POOLINGS = ["mean", "attention", "similarity_histogram"]


@pytest.fixture
def make(make_config, make_data):
    def build(backbone, pooling="none", *, length=4, rows=20, **settings):
        config = make_config(
            "ClickPromptNoPLM", backbone=backbone, history_pooling=pooling, history_length=length, **settings
        )
        dataset = make_data(config)[0]._dataset
        torch.manual_seed(0)
        # the latest rows, which have the longest histories
        return build_backbone(config, dataset), dataset[torch.arange(len(dataset) - rows, len(dataset))]

    return build


def with_history(rows, items, lengths, labels=None):
    columns = {**rows.interaction, "item_id_list": items, "item_length": lengths}
    return Interaction(columns if labels is None else {**columns, "label_list": labels})


def test_twenty_backbones_take_vectors():
    assert len(WITH_VECTORS) == 20


@pytest.mark.parametrize("name", WITH_VECTORS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_history_reaches_the_score_and_is_trained(make, name, pooling):
    backbone, rows = make(name, pooling)
    backbone.eval()
    empty = with_history(rows, torch.zeros_like(rows["item_id_list"]), torch.zeros_like(rows["item_length"]))
    with torch.no_grad():
        used = rows["item_length"] > 0
        different = backbone.logit(rows) != backbone.logit(empty)
        assert torch.equal(different, used)
    if pooling == "similarity_histogram":
        return
    table = backbone.model.token_embedding_table.embedding
    offset = backbone.model.token_field_offsets[backbone.model.token_field_names.index("item_id")]
    backbone.train().logit(rows).sin().sum().backward()
    clicked = set(rows["item_id_list"][rows["item_id_list"] > 0].tolist()) - set(rows["item_id"].tolist())
    assert clicked
    assert (table.weight.grad[torch.tensor(sorted(clicked)) + offset].abs().sum(1) > 0).all()
    assert table.weight.grad[offset].abs().sum() == 0  # padding


@pytest.mark.parametrize("name", BACKBONES)
def test_vectors_of_a_column_are_fields_or_refused(make_config, make_data, name):
    config = make_config("ClickPromptNoPLM", backbone=name, history_length=4 if name == "DIN" else None)
    dataset = make_data(config)[0]._dataset
    rows = dataset[torch.arange(20)]

    def sources(model):
        return [ColumnVectors("vectors", count=3, width=5, embedding_size=config["embedding_size"])]

    vectors = torch.randn(20, 3, 5, requires_grad=True)
    if name in WITHOUT_VECTORS:
        with pytest.raises(SettingError, match=f"{name} takes no vectors"):
            with_vector_fields(recbole_model(name), sources)
        return
    model = with_vector_fields(recbole_model(name), sources)(config, dataset)
    assert isinstance(model, ContextRecommender)
    rows.update(Interaction({"vectors": vectors}))
    model(rows).sum().backward()
    assert (vectors.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize(("name", "pooling"), [("DIN", "none"), *(("DCNV2", pooling) for pooling in POOLINGS)])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["positive", "all"])
def test_neither_padding_nor_the_order_of_clicks_matters(make, name, pooling, training, kind):
    backbone, rows = make(name, pooling, history=kind)
    backbone.train(training)
    items, lengths = rows["item_id_list"], rows["item_length"]
    labels = rows["label_list"] if kind == "all" else None

    def logit(*history):
        return backbone.logit(with_history(rows, *history)).detach()

    expected = logit(items, lengths, labels)
    wide = torch.nn.functional.pad(items, (0, 3), value=7)  # whatever stands there
    wide_labels = None if labels is None else torch.nn.functional.pad(labels, (0, 3), value=1)
    torch.testing.assert_close(logit(wide, lengths, wide_labels), expected)
    backwards = torch.stack([torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(items, lengths, strict=True)])
    if labels is not None:
        labels = torch.stack([torch.cat([r[:n].flip(0), r[n:]]) for r, n in zip(labels, lengths, strict=True)])
    torch.testing.assert_close(logit(backwards, lengths, labels), expected)


@pytest.mark.parametrize(("name", "pooling"), [("DIN", "none"), ("DCNV2", "mean"), ("DCNV2", "attention")])
def test_with_all_rows_as_history_the_label_of_a_click_matters(make, name, pooling):
    backbone, rows = make(name, pooling, history="all")
    backbone.eval()
    turned = with_history(rows, rows["item_id_list"], rows["item_length"], 1 - rows["label_list"])
    with torch.no_grad():
        different = backbone.logit(rows) != backbone.logit(turned)
    assert torch.equal(different, rows["item_length"] > 0)


def test_attention_is_the_weighted_sum_of_the_clicks():
    torch.manual_seed(0)
    pool = TargetAttention(6, hidden=4, softmax=False).eval()
    target, vectors = torch.randn(2, 6), torch.randn(4, 6)
    clicks = Clicks(vectors, torch.tensor([[2, 1, 0], [3, 3, 0]]))
    mask = torch.tensor([[True, True, False], [False, False, False]])
    pairs = torch.cat([target[:1].expand(2, 6), vectors[[2, 1]]], dim=1)
    t, h = pairs[:, :6], pairs[:, 6:]
    weights = pool.output(pool.activation(pool.hidden(torch.cat([t, h, t - h, t * h], dim=1))))
    torch.testing.assert_close(pool(target, clicks, mask), torch.stack([(weights * h).sum(0), torch.zeros(6)]))
    soft = TargetAttention(6, hidden=4, softmax=True).eval()
    soft.load_state_dict(pool.state_dict())
    torch.testing.assert_close(soft(target, clicks, mask)[0], (weights.softmax(0) * h).sum(0))
    assert soft(target, clicks, mask)[1].eq(0).all()


def test_weighted_sums_and_their_gradients_are_those_of_a_copy_of_all_slots():
    torch.manual_seed(0)
    vectors, weights = torch.randn(5, 3, dtype=torch.double), torch.randn(4, 6, dtype=torch.double)
    places = torch.randint(0, 4, (4, 6))  # no slot holds the last vector
    inputs = [vectors.requires_grad_(), weights.requires_grad_()]
    assert torch.autograd.gradcheck(lambda v, w: weighted_sum(v, places, w), inputs)
    expected = torch.einsum("bt,btw->bw", weights, vectors[places])
    torch.testing.assert_close(weighted_sum(vectors, places, weights), expected)


def test_dice_is_that_of_the_paper_and_takes_single_rows():
    dice = Dice(3)
    torch.nn.init.uniform_(dice.alpha)
    x = torch.randn(8, 3)
    p = torch.sigmoid((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-8).sqrt())
    torch.testing.assert_close(dice(x), p * x + (1 - p) * dice.alpha * x)
    mean = dice.norm.running_mean.clone()
    assert dice(x[:1]).isfinite().all()
    assert dice(x[:0]).shape == (0, 3)
    assert torch.equal(dice.norm.running_mean, mean)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *(({"backbone": name, "history_pooling": "mean", "history_length": 3}, name) for name in WITHOUT_VECTORS),
        ({"backbone": "DIN", "history_pooling": "mean"}, "has its own"),
        ({"backbone": "DIN", "history_length": None}, "set history_length"),
        ({"history_pooling": "attention"}, "set history_length"),
        ({"history_length": 3}, "does not read histories"),
        (
            {"history_pooling": "mean", "history_length": 3, "pretrain_data": "train_valid"},
            "labels of validation rows",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(make_config, settings, words):
    with pytest.raises(SettingError, match=words):
        make_config("ClickPrompt", **settings)

"""Embeddings that begin as what a PLM makes of text."""

from dataclasses import replace

import pytest
import torch
import transformers as tf
from recbole.utils import get_trainer

from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.unseen import token_embedding_tables
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods import initial_weights
from recbole_clickprompt.methods.clickprompt.model import ClickPromptNoPLM
from recbole_clickprompt.plm import text_init
from recbole_clickprompt.plm.text_init import init_embeddings_from_text, principal_components, text_vectors
from recbole_clickprompt.text.text import Textualizer
from tests.conftest import SHORT

FROM_TEXT = {"init_from_text": ["item_id"], "train_stage": "finetune"}


@pytest.fixture
def build(make_config, make_data):
    def make(**settings):
        config = make_config("ClickPromptNoPLM", **{**FROM_TEXT, **settings})
        data = make_data(config)
        torch.manual_seed(0)
        return config, data, build_backbone(config, data[0]._dataset).model

    return make


def rows_of(model, field):
    """Its rows in the table of all ids."""
    begins = dict(zip(model.token_field_names, model.token_field_offsets.tolist(), strict=True))
    sizes = dict(zip(model.token_field_names, model.token_field_dims, strict=True))
    return slice(begins[field], begins[field] + sizes[field])


def test_vectors_are_the_means_of_the_last_states_of_the_features_text(build, tiny_bert):
    config, data, _ = build()
    dataset = data[0]._dataset
    vectors, there = text_vectors(config, dataset, "item_id")
    assert there.tolist() == [False] + [True] * (dataset.num("item_id") - 1)
    assert not vectors[0].any()
    plm, tokenizer = tf.BertModel.from_pretrained(tiny_bert).eval(), dataset.tokenizer(str(tiny_bert))
    for item in (1, 7, dataset.num("item_id") - 1):
        fields = [field for field in dataset.textualizer().fields if field.key == "item_id"][1:]
        text = " ".join(field.parts[field.codes[item]] for field in fields if field.codes[item] >= 0)
        assert "ID" not in text
        with torch.no_grad():
            states = plm(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state
        torch.testing.assert_close(vectors[item], torch.nn.functional.normalize(states[0].mean(0), dim=0))


def test_components_keep_distances_and_do_not_turn_with_the_order_of_rows():
    torch.manual_seed(0)
    vectors = torch.randn(40, 3) @ torch.randn(3, 10)
    components = principal_components(vectors, 3)
    assert components.std().item() == pytest.approx(1.0)
    ratio = torch.cdist(components, components) / torch.cdist(vectors, vectors).clamp(min=1e-9)
    off = ~torch.eye(40, dtype=torch.bool)
    torch.testing.assert_close(ratio[off], ratio[0, 1].expand(int(off.sum())))
    order = torch.randperm(40)
    torch.testing.assert_close(principal_components(vectors[order], 3), components[order])


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "LR"])
def test_ids_begin_from_text_and_nothing_else_changes(build, backbone):
    config, data, model = build(backbone=backbone)
    dataset = data[0]._dataset
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert init_embeddings_from_text(model, config, dataset) == dataset.num("item_id") - 1
    items = rows_of(model, "item_id")
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    tables = {
        f"{n}.weight"
        for n, m in model.named_modules()
        if any(m is t for t in token_embedding_tables(model)) and m.embedding_dim > 1
    }
    assert changed == tables
    for name in tables:
        table, old = model.state_dict()[name], before[name]
        assert (table[items][1:] != old[items][1:]).any(1).all()
        assert table[items][1:].std() == pytest.approx(2 * old.std().item(), rel=1e-3)
        others = torch.ones(len(old), dtype=torch.bool)
        others[items.start + 1 : items.stop] = False
        assert torch.equal(table[others], old[others])


def test_users_and_items_begin_from_their_own_text_and_shuffled_ones_from_that_of_others(build):
    started = {}
    for shuffled in (False, True):
        config, data, model = build(init_from_text=["user_id", "item_id"], shuffle_text=shuffled)
        table = next(t for t in token_embedding_tables(model) if t.embedding_dim > 1).weight
        drawn = table.std().item()
        init_embeddings_from_text(model, config, data[0]._dataset)
        started[shuffled] = {field: table[rows_of(model, field)][1:].clone() for field in ("user_id", "item_id")}
    for field, own in started[False].items():
        assert own.std().item() == pytest.approx(2 * drawn, rel=1e-3)
        other = started[True][field]
        assert not torch.allclose(own, other)
        # the same texts, at other ids
        torch.testing.assert_close(own.norm(dim=1).sort().values, other.norm(dim=1).sort().values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"init_from_text": ["gender"]},
            "gender is neither user_id nor item_id: only users and items have a text",
        ),
        ({"text_fields": {"item_id": "film ID", "gender": "gender"}}, "text_fields has no feature of item_id"),
        ({"embedding_size": 20}, "embedding_size is 20, more than the 16 of the PLM; take smaller embeddings"),
        ({"backbone": "LR"}, "LR has no embeddings of ids; leave it out"),
    ],
)
def test_what_cannot_begin_from_text_is_told(build, settings, message):
    config, data, model = build(**settings)
    with pytest.raises(SettingError, match=message):
        init_embeddings_from_text(model, config, data[0]._dataset)


@pytest.mark.parametrize("stage", ["finetune", "all"])
def test_training_begins_there_with_and_without_pretraining(make_config, make_data, monkeypatch, stage):
    begun = []
    # The pretraining stage imports it where it is called, finetuning as a module
    for module, kind in ((text_init, "all"), (initial_weights, "finetune")):
        monkeypatch.setattr(
            module,
            "init_embeddings_from_text",
            lambda *given, kind=kind: begun.append(kind) or init_embeddings_from_text(*given),
        )
    config = make_config("ClickPromptNoPLM", **{**FROM_TEXT, **SHORT, "train_stage": stage})
    data = make_data(config)
    model = ClickPromptNoPLM(config, data[0]._dataset)
    get_trainer(config["MODEL_TYPE"], config["model"])(config, model).fit(*data[:2], verbose=False, saved=False)
    assert begun == [stage]


def test_an_id_without_clicks_keeps_its_text_where_others_are_set_to_zero(make_config, make_data):
    config = make_config("ClickPromptNoPLM", **FROM_TEXT, unseen_id_embeddings="zero", train_rows=5, epochs=1)
    data = make_data(config)
    model = ClickPromptNoPLM(config, data[0]._dataset)
    get_trainer(config["MODEL_TYPE"], config["model"])(config, model).fit(*data[:2], verbose=False, saved=False)
    table = next(t for t in token_embedding_tables(model.backbone.model) if t.embedding_dim > 1).weight
    assert table[rows_of(model.backbone.model, "item_id")][1:].any(1).all()
    assert table[rows_of(model.backbone.model, "user_id")].any(1).sum() <= 5


def test_an_item_that_lacks_its_first_feature_has_the_text_of_the_others(build, tiny_roberta, monkeypatch):
    config, data, _ = build(plm=str(tiny_roberta))
    dataset = data[0]._dataset
    dataset.token_table(config["plm"])
    fields = list(dataset.textualizer().fields)
    first = next(i for i, field in enumerate(fields) if field.key == "item_id") + 1
    codes = fields[first].codes.copy()
    codes[3] = -1
    fields[first] = replace(fields[first], codes=codes)
    monkeypatch.setattr(dataset, "textualizer", lambda: Textualizer(fields))
    vectors, there = text_vectors(config, dataset, "item_id")
    assert there[1:].all()
    assert vectors[3].norm().item() == pytest.approx(1.0)

"""LLaCTR: fields interact by the similarity of their names, and embeddings are drawn to their names' vectors."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import run_recbole
from recbole.utils import get_model, init_seed

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.backbones import BACKBONES, WITHOUT_VECTORS
from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.errors import SettingError, UserError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.llactr.field_values import field_values
from recbole_clickprompt.methods.llactr.knowledge import FieldAlignment, FieldInteractions
from recbole_clickprompt.methods.llactr.self_training import build_field_matching
from recbole_clickprompt.methods.llactr.stage import FieldNames
from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder
from recbole_clickprompt.serving import load_model
from tests.conftest import SMALL

NOTHING = {"field_interaction_weight": 0.0, "field_alignment_weight": 0.0}


@pytest.fixture
def llactr_config(tiny_bert):
    def make(**settings):
        return Config("LLaCTR", "tiny", None, {**SMALL, "plm": str(tiny_bert), **settings})

    return make


@pytest.fixture
def build(llactr_config, make_data):
    """A model with encoded names, and its training rows."""

    def make(**settings):
        config = llactr_config(**settings)
        train = make_data(config)[0]._dataset
        init_seed(config["seed"], config["reproducibility"])
        model = get_model("LLaCTR")(config, train)
        model.encode_names(config, None)
        return model, train

    return make


def test_pairs_are_weighed_by_mixed_cosines_of_their_names():
    torch.manual_seed(0)
    names, embeddings = torch.randn(4, 6), torch.randn(5, 4, 3)
    term = FieldInteractions(4)
    term.set_names(names)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    cosines = torch.stack([torch.cosine_similarity(names[i], names[j], dim=0) for i, j in pairs])
    torch.testing.assert_close(term.cosines, cosines)
    weights = term.mix.weight @ cosines
    expected = sum(weights[n] * (embeddings[:, i] * embeddings[:, j]).sum(1) for n, (i, j) in enumerate(pairs))
    torch.testing.assert_close(term(embeddings), expected)


def test_the_divergence_is_0_for_equal_distributions_and_positive_for_others():
    torch.manual_seed(0)
    alignment = FieldAlignment(3, width=6, embedding_size=4)
    alignment.set_names(torch.randn(3, 6))
    equal = alignment.projection(alignment.names).expand(7, -1, -1)
    assert alignment(equal + 5.0).item() == pytest.approx(0, abs=1e-6)
    other = torch.randn(7, 3, 4)
    target, given = alignment.projection(alignment.names).softmax(1), other.softmax(2)
    expected = (target * (target / given).log()).sum() / 7
    assert expected > 0
    torch.testing.assert_close(alignment(other), expected)


def test_fields_are_ordered_by_name_and_have_the_words_of_the_text(build, tiny_bert):
    model, _ = build()
    assert model.names == ["age", "device", "gender", "genre", "film ID", "job", "title", "user ID"]
    vectors = torch.from_numpy(SentenceEncoder(str(tiny_bert))(model.names))
    torch.testing.assert_close(model.alignment.names, vectors)
    assert model.interactions.cosines.shape == (28,)
    order, _ = build(text_fields={"title": "title"})
    assert order.names[4] == "item id"


def test_without_weights_the_model_is_the_backbone_bit_for_bit(build, llactr_config, small):
    model, train = build(**NOTHING)
    config = llactr_config()
    init_seed(config["seed"], config["reproducibility"])
    plain = build_backbone(config, train)
    rows = train[torch.arange(64)]
    assert torch.equal(model.eval()(rows), plain.eval().logit(rows))
    assert model.state_dict().keys() == {f"backbone.{name}" for name in plain.state_dict()}
    settings = {**small, "epochs": 1, "train_rows": 300, "weight_decay": 0.1, "learning_rate": 0.01}
    settings |= {"warmup_ratio": 0.0, "lr_scheduler": "constant", "stopping_step": 2}
    ours = run_recbole(model="LLaCTR", dataset="tiny", config_dict={**settings, **NOTHING})
    theirs = run_recbole(
        model="ClickPromptNoPLM", dataset="tiny", config_dict={**settings, "train_stage": "finetune"}
    )
    assert ours["test_result"] == theirs["test_result"]


def test_parts_of_a_weight_of_0_do_not_exist(build):
    model, train = build(field_interaction_weight=0.0)
    assert not hasattr(model, "interactions")
    rows = train[torch.arange(32)]
    model.train()
    assert model.calculate_loss(rows) > model.cross_entropy(model(rows), rows["label"])
    model, _ = build(field_alignment_weight=0.0)
    assert not hasattr(model, "alignment")


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in WITHOUT_VECTORS])
def test_every_backbone_with_fields_is_trained_with_both_parts(build, backbone):
    history = {"history_length": 3} if backbone == "DIN" else {}
    model, train = build(backbone=backbone, **history)
    model.train()
    model.calculate_loss(train[torch.arange(64)]).backward()
    assert model.interactions.mix.weight.grad.abs().sum() > 0
    assert model.alignment.projection.weight.grad.abs().sum() > 0


def test_fields_of_histories_are_no_part_of_the_pairs(build):
    model, train = build(history_length=3, history_pooling="mean")
    assert model._embeddings(train[torch.arange(8)]).shape == (8, 8, 8)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backbone": "DSSM"}, "LLaCTR reads embeddings of fields, which DSSM does not support; use one of AFM"),
        ({"user_knowledge": "static"}, "user_knowledge has no effect: LLaCTR reads names of fields alone"),
        ({"field_alignment_weight": -1.0}, "field_alignment_weight must be a number"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(llactr_config, given, words):
    with pytest.raises(SettingError, match=words):
        llactr_config(**given)


def test_values_of_training_rows_are_the_examples_at_most_so_many_of_a_field(llactr_config, make_data):
    train = make_data(llactr_config())[0]._dataset
    found = field_values(train, most=10, seed=1)
    assert found.names == ["user ID", "gender", "age", "job", "device", "film ID", "title", "year", "genre"]
    counts = [sum(value.field == number for value in found.values) for number in range(9)]
    assert counts == [10, 2, 3, 4, 2, 10, 10, 10, counts[8]]
    assert {value.text for value in found.values if value.field == 1} == {"female", "male"}
    assert field_values(train, most=10, seed=1).digest() == found.digest()
    assert field_values(train, most=10, seed=2).digest() != found.digest()
    everything = field_values(train, most=1000, seed=1)
    tokens = train.field2id_token["item_id"]
    seen = {tokens[item] for item in train.inter_feat["item_id"].tolist()}
    assert {value.text for value in everything.values if value.field == 5} == seen


def test_self_training_finds_the_fields_of_values(llactr_config, make_data):
    config = llactr_config(plm_lora={"r": 8})
    values = field_values(make_data(config)[0]._dataset, most=20, seed=1)
    torch.manual_seed(0)
    model = build_field_matching(config, values)
    optimizer = FieldNames().optimizer(llactr_config(pretrain_plm_learning_rate=0.01), model)
    batch, losses = values[torch.arange(len(values))], []
    for _ in range(12):
        optimizer.zero_grad()
        parts = model.split(batch, 50)
        assert sum(weight for _, weight in parts) == pytest.approx(1)
        loss = sum(weight * model.calculate_loss(part) for part, weight in parts)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    frozen = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert all("lora" not in name for name in frozen)
    assert frozen


def test_the_names_are_encoded_by_the_language_model_after_self_training(small):
    settings = {
        **small, "epochs": 1, "train_rows": 200, "field_values": 10, "pretrain_plm_learning_rate": 0.01,
        "plm_lora": {"r": 4},
    }  # fmt: skip
    names = []
    for given in ({}, {"pretrain_epochs": 0}, {"plm_lora": None}):
        path = run_recbole(model="LLaCTR", dataset="tiny", config_dict={**settings, **given})["checkpoint"]
        names.append(torch.load(path)["state_dict"]["alignment.names"])
        (stage, *_) = open_run(path).history()["stage"].unique()
        assert (stage == "fields") is (given.get("pretrain_epochs") != 0)
    assert not torch.allclose(names[0], names[1], atol=1e-3)
    assert not torch.allclose(names[0], names[2], atol=1e-3)
    assert len(list(Path("saved").glob("tiny-fields-*.safetensors"))) == 2
    run_recbole(model="LLaCTR", dataset="tiny", config_dict={**settings, "backbone": "DNN"})
    assert len(list(Path("saved").glob("tiny-fields-*.safetensors"))) == 2  # of any backbone


def test_the_stage_can_be_run_alone(small):
    alone = {**small, "train_stage": "fields", "field_values": 5, "valid_metric": "LogLoss"}
    result = run_recbole(model="LLaCTR", dataset="tiny", config_dict=alone)
    assert result["best_valid_score"] == pytest.approx(result["best_valid_result"]["fields_loss"])


def test_self_training_needs_names_that_differ(small):
    for fields, message in (
        ({"title": "title"}, "text_fields has 1 field, but self-training tells the names of fields apart"),
        ({"title": "name", "genre": "name"}, "text_fields has the name 'name' twice"),
    ):
        with pytest.raises(UserError, match=message):
            run_recbole(model="LLaCTR", dataset="tiny", config_dict={**small, "text_fields": fields})


def test_a_run_is_served_and_exported_with_the_vectors_of_names(small, capsys, monkeypatch):
    result = run_recbole(model="LLaCTR", dataset="tiny", config_dict={**small, "epochs": 1, "train_rows": 300})
    run = result["checkpoint"]
    monkeypatch.setattr("recbole_clickprompt.plm.loading.load_plm", None)  # serving needs none
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": ["phone", "phone"]})
    scores = load_model(run).predict(rows)
    assert np.isfinite(scores).all()
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    assert main(["export", str(run), "--out=model", "--rows=20"]) == 0
    assert load_model("model").predict(rows) == pytest.approx(scores, abs=1e-5)

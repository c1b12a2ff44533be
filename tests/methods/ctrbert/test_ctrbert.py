"""CTR-BERT reads user and item separately, and scores from the vectors it has stored."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.utils import get_model

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.load import load_trained
from recbole_clickprompt.text.texts_by_level import texts_by_level
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.text_vectors import EncodesTexts
from tests.conftest import SHORT

NO_DROPOUT = {"plm_dropout": 0.0, "head_dropout": 0.0}


@pytest.fixture
def data(make_config, make_data):
    return make_data(make_config("CTRBERT"))[0]._dataset


@pytest.fixture
def build(make_config, data):
    def build(**settings):
        torch.manual_seed(1)
        return get_model("CTRBERT")(make_config("CTRBERT", **settings), data)

    return build


@pytest.fixture
def encoded(monkeypatch):
    """Texts of each call of a language model."""
    calls, run = [], PromptedEncoder._run

    def counting(self, text, *arguments, **more):
        calls.append(len(text))
        return run(self, text, *arguments, **more)

    monkeypatch.setattr(PromptedEncoder, "_run", counting)
    return calls


@pytest.mark.parametrize("settings", [{}, {"tabular": True}, {"plm_pooling": "avg"}])
def test_stored_vectors_give_the_scores_of_computed_ones(build, data, encoded, settings):
    model, rows = build(**settings).eval(), data[torch.arange(100)]
    computed = model(rows)
    assert encoded == [len(rows["user_id"].unique()), len(rows["item_id"].unique())]  # each once
    with torch.no_grad():
        stored = model(rows)
        assert torch.allclose(stored, computed, atol=1e-6, rtol=0)
        before = len(encoded)
        assert torch.equal(model(rows), stored)
        model(data[torch.arange(100, 300)])
    assert len(encoded) == before  # two look-ups and an MLP


def test_a_users_vector_does_not_depend_on_the_item(build, data):
    model, rows = build().eval(), data[torch.arange(50)]
    users = model._vectors("user", rows)
    others = data[torch.arange(50)]
    others.interaction["item_id"] = rows["item_id"].roll(1)
    assert torch.equal(model._vectors("user", others), users)
    assert not torch.equal(model._vectors("item", others), model._vectors("item", rows))
    ours, theirs = (dict(model.towers[level].named_parameters()) for level in ("user", "item"))
    users.sum().backward()
    assert any(weight.grad is not None for weight in ours.values())
    assert all(weight.grad is None for weight in theirs.values())
    assert all(weight is not theirs[name] for name, weight in ours.items())


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "modernbert"])
def test_padding_has_no_effect_and_a_sentence_has_the_vector_of_its_id(make_config, make_data, tiny_plms, family):
    config = make_config("CTRBERT", plm=str(tiny_plms[family]))
    train = make_data(config)[0]._dataset
    model = get_model("CTRBERT")(config, train).eval()
    assert isinstance(model, EncodesTexts)
    with torch.no_grad():
        for level, key in model.keys.items():
            texts = model.texts[level]
            ids = torch.arange(1, 20)
            assert len(texts.lengths[ids].unique()) > 1
            together = model._encode_ids(level, ids)
            alone = torch.cat([model._encode_ids(level, id_) for id_ in ids.split(1)])
            assert torch.allclose(together, alone, atol=1e-6)
            fields = [field for field in train.textualizer().fields if field.key == key]
            sentences = [
                " ".join(field.parts[field.codes[id_]] for field in fields if field.codes[id_] >= 0) for id_ in ids
            ]
            assert torch.allclose(model.encode_texts(level, sentences), together, atol=1e-6)


def test_training_updates_both_towers_and_the_vectors_before_the_next_evaluation(build, data):
    model = build(tabular=True, **NO_DROPOUT)
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=0.01, plm_learning_rate=0.01, weight_decay=0.0
    )
    rows, losses = data[torch.arange(100)], []
    with torch.no_grad():
        first = model.eval()(rows)
    for _ in range(8):
        model.train()
        optimizer.zero_grad()
        parts = model.split(rows, 32)
        assert sum(weight for _, weight in parts) == pytest.approx(1)
        total = 0.0
        for part, weight in parts:
            loss = weight * model.calculate_loss(part)
            loss.backward()
            total += loss.item()
        losses.append(total)
        optimizer.step()
    assert losses[-1] < losses[0] - 0.02
    computed = model.eval()(rows)
    with torch.no_grad():
        stored = model(rows)
    assert torch.allclose(stored, computed, atol=1e-6)
    assert not torch.allclose(stored, first, atol=1e-3)


def test_rows_of_an_item_are_neighbors_and_distinct_texts_are_encoded_once_per_part(build, data, encoded):
    model, rows = build().train(), data[torch.arange(128)]
    parts = model.split(rows, 32)
    items = torch.cat([part["item_id"] for part, _ in parts])
    assert 1 + int((items.diff() != 0).sum()) == len(items.unique())
    lengths = model.texts["item"].lengths[items]
    assert torch.equal(lengths, lengths.sort().values)
    for part, _ in parts:
        model.calculate_loss(part)
    assert encoded == [len(part[key].unique()) for part, _ in parts for key in ("user_id", "item_id")]


def test_weights_are_saved_with_their_own_vectors(build, data):
    model, rows = build(), data[torch.arange(40)]
    with torch.no_grad():
        model.eval()(rows)
        model.train().calculate_loss(rows)  # from here on, weights may change
        model.towers["item"].encoder.embeddings.word_embeddings.weight.mul_(1.5)
    saved = model.state_dict()
    assert model.towers.training
    with torch.no_grad():
        fresh = model.eval()._encode_ids("item", torch.arange(1, 21))
    assert torch.allclose(saved["item_vectors"][1:21], fresh, atol=1e-6)
    other = build().eval()
    other.load_state_dict(saved)
    with torch.no_grad():
        assert torch.equal(other(rows), model.eval()(rows))
    assert other._tables_fit


def test_each_text_has_half_of_the_tokens(make_config, make_data):
    table = make_data(make_config("CTRBERT", max_text_length=21))[0]._dataset.token_table(
        make_config("CTRBERT")["plm"]
    )
    texts = texts_by_level(table, {"user": "user_id", "item": "item_id"})
    assert max(int(text.lengths.max()) for text in texts.values()) == 10
    for text in texts.values():
        assert text.tokens[text.offsets[:-1]].unique().tolist() == table.prefix
        assert text.tokens[text.offsets[1:] - 1].unique().tolist() == table.suffix
    with pytest.raises(SettingError, match="max_text_length is 5, .* set it to 6 or more"):
        texts_by_level(
            make_data(config := make_config("CTRBERT", max_text_length=5))[0]._dataset.token_table(config["plm"]),
            {"user": "user_id", "item": "item_id"},
        )


def test_fields_of_a_user_that_are_apart_in_the_sentence_are_one_text(make_config, make_data):
    fields = {"user_id": "user ID", "item_id": "film ID", "gender": "gender", "title": "title"}
    config = make_config("CTRBERT", text_fields=fields)
    train = make_data(config)[0]._dataset
    tokenizer = train.tokenizer(config["plm"])
    texts = texts_by_level(train.token_table(config["plm"]), {"user": "user_id", "item": "item_id"})
    written = [
        tokenizer.decode(texts["user"].padded(texts["user"].tokens, torch.tensor([id_]), 0)[0]) for id_ in (1, 2)
    ]
    assert all(text.startswith("[CLS] user id is") for text in written)
    assert any("gender is" in text for text in written)
    assert not any("film" in text for text in written)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history_length": 5}, "history_length has no effect: CTRBERT has no CTR model without tabular: True"),
        (
            {"init_from_text": ["item_id"]},
            "init_from_text has no effect: CTRBERT has no CTR model without tabular",
        ),
        ({"pre_model_path": "x"}, "pre_model_path has no effect: CTRBERT has no stage before finetuning"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("CTRBERT", **settings)


def test_a_text_of_both_levels_is_needed(make_config, make_data):
    config = make_config("CTRBERT", text_fields={"item_id": "film ID"})
    model = get_model("CTRBERT")(config, make_data(config)[0]._dataset)
    with pytest.raises(SettingError, match="text_fields has no field of the user, .* add user_id"):
        assert model.texts


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_bert):
    from tests.conftest import SMALL

    folder = tmp_path_factory.mktemp("ctrbert")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        run_recbole(
            model="CTRBERT",
            dataset="tiny",
            config_dict={**SMALL, **SHORT, "plm": str(tiny_bert), "epochs": 1, "plm_learning_rate": 1e-3},
        )
    (run,) = (folder / "saved").glob("CTRBERT-*.pth")
    return run


def raw_rows(table):
    rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"})
    return rows.assign(device="phone").reset_index(drop=True)


def test_a_saved_run_scores_known_rows_as_in_training_without_its_language_models(trained, encoded):
    table = open_run(trained).predictions("test")
    assert torch.sigmoid(torch.tensor(table["logit"])).numpy() == pytest.approx(table["score"], abs=1e-6)
    scores = load_model(trained).predict(raw_rows(table))
    assert scores == pytest.approx(table["score"].to_numpy(), abs=1e-6)
    assert encoded == []
    names = torch.load(trained)["state_dict"].keys()
    assert {name.partition(".")[0] for name in names} == {"towers", "head", "user_vectors", "item_vectors"}


def test_new_users_and_items_are_encoded_from_their_text(trained):
    served, model = load_model(trained), load_trained(trained).model
    known = raw_rows(open_run(trained).predictions("test")).head(2)
    new = pd.concat([known, known.assign(item_id="i-new"), known.assign(user_id="u-new")], ignore_index=True)
    new["title"], new["genre"], new["gender"] = "Grim Golden Tale", "Comedy", "F"
    scores = served.predict(new)
    vectors = model.encode_texts("item", ["title is Grim Golden Tale. genre is Comedy."])
    assert vectors.shape == (1, model.vector_widths["item"])
    user, item = (served.preprocessing.vocabulary[key].tolist() for key in ("user_id", "item_id"))
    with torch.no_grad():
        pair = [model.user_vectors[[user.index(name) for name in known["user_id"]]], vectors.expand(2, -1)]
        by_hand = torch.sigmoid(model.head(torch.cat(pair, dim=1)).squeeze(1))
    assert scores[2:4] == pytest.approx(by_hand.numpy(), abs=1e-6)
    other = served.predict(new.assign(title="Silent River"))
    assert other[:2] == pytest.approx(scores[:2])
    assert (abs(other[2:4] - scores[2:4]) > 1e-6).all()
    vectors = model.encode_texts("user", ["gender is female."])
    with torch.no_grad():
        pair = [vectors.expand(2, -1), model.item_vectors[[item.index(name) for name in known["item_id"]]]]
        by_hand = torch.sigmoid(model.head(torch.cat(pair, dim=1)).squeeze(1))
    assert scores[4:] == pytest.approx(by_hand.numpy(), abs=1e-6)


def test_the_hash_of_the_vectors_follows_the_weights_that_they_depend_on(build):
    model = build()
    before = model.vectors_hash()
    with torch.no_grad():
        model.head[0].weight.add_(1)
    assert model.vectors_hash() == before
    with torch.no_grad():
        model.towers["user"].encoder.embeddings.word_embeddings.weight[5].add_(1)
    assert model.vectors_hash() != before


def test_fields_of_the_row_itself_are_named(small, caplog):
    run_recbole(model="CTRBERT", dataset="tiny", config_dict={**small, "train_rows": 64, "epochs": 1}, saved=False)
    assert "text_fields: device describe neither user nor item, so CTRBERT does not read them" in caplog.text
    assert not list(Path("saved").glob("*.pth"))


def test_an_export_has_the_stored_vectors(trained, capsys):
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    assert main(["export", str(trained), "--out=model", "--rows=20"]) == 0
    assert "largest difference to PyTorch's scores on 20 test rows" in capsys.readouterr().out
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": ["phone", "phone"]})
    assert load_model("model").predict(rows) == pytest.approx(load_model(trained).predict(rows), abs=1e-6)

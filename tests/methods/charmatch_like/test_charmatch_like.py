"""CharMatchLike reads the characters of two texts, nothing else, and scores from stored vectors."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.utils import get_model

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.charmatch_like.characters import (
    ALPHABET,
    CharacterTower,
    CrossConvolution,
    encode,
)
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.load import load_trained
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.text_vectors import EncodesTexts
from tests.conftest import SHORT

OWN = {"char_channels": 8, "max_characters": 64}


@pytest.fixture
def data(make_config, make_data):
    return make_data(make_config("CharMatchLike"))[0]._dataset


@pytest.fixture
def build(make_config, data):
    def build(**settings):
        torch.manual_seed(1)
        return get_model("CharMatchLike")(make_config("CharMatchLike", **{**OWN, **settings}), data)

    return build


def test_texts_become_numbers_of_characters():
    texts = encode(["Ab c", "é!", "", "中" * 9], 5)
    assert texts.lengths.tolist() == [4, 2, 0, 5]
    first = [ALPHABET.index(c) + 1 for c in "ab c"]
    assert texts.characters[0].tolist() == [*first, 0]
    assert texts.characters[1, :2].tolist() == [ALPHABET.index("e") + 1, ALPHABET.index("!") + 1]
    assert texts.characters[3].tolist() == [len(ALPHABET) + 1] * 5
    assert encode([""], 5).padded(torch.tensor([0]))[1].tolist() == [0]


def test_compatible_characters_are_the_letters_that_they_stand_for():
    assert torch.equal(encode(["\u210cat"], 8).characters, encode(["hat"], 8).characters)


def test_padding_characters_have_no_influence():
    torch.manual_seed(0)
    tower, texts = CharacterTower(4, 4), encode(["golden river", "a", ""], 64)
    characters, lengths = texts.padded(torch.arange(3))
    found = tower(characters, lengths)
    assert found.shape == (3, 4, 4)
    wider = torch.full((3, 40), 7)
    wider[:, : characters.shape[1]] = torch.where(characters > 0, characters, 9)  # other padding, and more of it
    assert torch.equal(tower(wider, lengths), found)
    assert (found[2] == 0).all()
    assert (found[1, :, 1:] == 0).all()
    alone = tower(*encode(["a"], 64).padded(torch.tensor([0])))
    assert torch.allclose(alone, found[1:2])


def test_regions_are_maxima_of_windows_over_the_text():
    torch.manual_seed(0)
    tower, text = CharacterTower(3, 2), "a golden summer garden"
    ids = [ALPHABET.index(c) for c in text]
    expected = torch.zeros(3, 2)
    for place in range(len(text)):
        value = tower.convolution.bias.clone()
        for step in range(-3, 4):
            if 0 <= place + step < len(text):
                value += tower.convolution.weight[:, ids[place + step], step + 3]
        expected[:, place // 16] = torch.maximum(expected[:, place // 16], value)
    assert torch.allclose(tower(*encode([text], 32).padded(torch.tensor([0])))[0], expected, atol=1e-5)


@pytest.mark.parametrize("regions", [1, 2, 5, 16])
def test_any_number_of_regions_is_matched(regions):
    match = CrossConvolution(4, regions, 0.0)
    user, item = torch.rand(3, 4, regions), torch.rand(3, 4, regions)
    whole = match(user, item)
    assert whole.shape == (3,)
    assert torch.allclose(torch.cat([match(user[[i]], item[[i]]) for i in range(3)]), whole, atol=1e-5)
    whole.sum().backward()
    assert all(p.grad is not None for p in match.parameters())


def test_columns_of_ids_have_no_influence_where_texts_are_equal(build, data):
    model, rows = build().eval(), data[torch.arange(40)]
    texts = model.texts["user"]
    rows.interaction["user_id"][:20] = torch.arange(1, 21)
    for level in ("user", "item"):  # the same text for all
        first = model.texts[level].characters[1:2].expand_as(model.texts[level].characters)
        model.texts[level] = type(texts)(
            first, model.texts[level].lengths[1:2].expand_as(model.texts[level].lengths)
        )
    with torch.no_grad():
        scores = model(rows)
    assert torch.allclose(scores, scores[:1].expand(40), atol=1e-6)
    written = "".join(ALPHABET[c - 1] for c in model.texts["user"].characters[1] if c)
    assert "user id" not in written


def test_stored_vectors_give_the_scores_of_computed_ones(build, data):
    model, rows = build().eval(), data[torch.arange(100)]
    computed = model(rows)
    with torch.no_grad():
        assert torch.allclose(model(rows), computed, atol=1e-6)
        assert model._tables_fit
    assert isinstance(model, EncodesTexts)
    model.train().calculate_loss(rows)
    assert not model._tables_fit
    before = model.vectors_hash()
    with torch.no_grad():
        model.match.layers[0].weight.add_(1)
        assert model.vectors_hash() == before
        model.towers["item"].convolution.weight.add_(1)
    assert model.vectors_hash() != before


def test_it_learns_and_parts_of_a_batch_have_its_loss(build, data):
    model, rows = build(head_dropout=0.0).train(), data[torch.arange(96)]
    rates = {"learning_rate": 0.01, "plm_learning_rate": 0.0, "weight_decay": 0.0}
    optimizer, losses = build_optimizer(model, learner="adamw", **rates), []
    whole = model.calculate_loss(rows).item()
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(0.0)
        for part, weight in model.split(rows, 32):
            loss = weight * model.calculate_loss(part)
            loss.backward()
            losses[-1] += loss.item()
        optimizer.step()
    assert losses[0] == pytest.approx(whole, abs=1e-5)
    assert losses[-1] < losses[0] - 0.05


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_bert):
    from tests.conftest import SMALL

    folder = tmp_path_factory.mktemp("charmatch")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        run_recbole(
            model="CharMatchLike",
            dataset="tiny",
            config_dict={**SMALL, **SHORT, **OWN, "plm": str(tiny_bert), "epochs": 1},
        )
    (run,) = (folder / "saved").glob("CharMatchLike-*.pth")
    return run


def test_a_saved_run_scores_known_rows_as_in_training_and_new_ones_from_their_text(trained):
    table = open_run(trained).predictions("test")
    rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"}).assign(device="phone")
    served, model = load_model(trained), load_trained(trained).model
    assert served.predict(rows) == pytest.approx(table["score"].to_numpy(), abs=1e-6)
    known = rows.head(2).reset_index(drop=True)
    new = pd.concat([known, known.assign(item_id="i-new"), known.assign(user_id="u-new")], ignore_index=True)
    new["title"], new["genre"], new["gender"] = "Grim Golden Tale", "Comedy", "F"
    scores = served.predict(new)
    vector = model.encode_texts("item", ["title is Grim Golden Tale. genre is Comedy."])
    user = served.preprocessing.vocabulary["user_id"].tolist()
    with torch.no_grad():
        users = model.user_vectors[[user.index(name) for name in known["user_id"]]]
        by_hand = torch.sigmoid(
            model.match(users.unflatten(1, (8, -1)), vector.expand(2, -1).unflatten(1, (8, -1)))
        )
    assert scores[2:4] == pytest.approx(by_hand.numpy(), abs=1e-6)
    assert (abs(scores[4:] - scores[:2]) > 0).all()


def test_an_export_has_the_stored_vectors(trained, capsys):
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    assert main(["export", str(trained), "--out=model", "--rows=20"]) == 0
    assert "largest difference to PyTorch's scores on 20 test rows" in capsys.readouterr().out
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": ["phone", "phone"]})
    assert load_model("model").predict(rows) == pytest.approx(load_model(trained).predict(rows), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history_length": 5}, "history_length has no effect: CharMatchLike has no CTR model to read histories"),
        ({"max_text_length": 32}, "max_text_length has no effect: CharMatchLike reads characters, max_characters"),
        ({"pre_model_path": "x"}, "pre_model_path has no effect: CharMatchLike has no stage before finetuning"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("CharMatchLike", **settings)


def test_texts_of_both_levels_are_needed(small):
    for fields, message in (
        (
            {"user_id": "user ID", "title": "title"},
            "no user has a text: text_fields has no field of the user other",
        ),
        ({"gender": "gender", "item_id": "film ID"}, "text_fields has no field of items other than item_id"),
    ):
        settings = {**small, **OWN, "text_fields": fields, "value_labels": {}}
        with pytest.raises(SettingError, match=message):
            run_recbole(model="CharMatchLike", dataset="tiny", config_dict=settings, saved=False)
    assert not list(Path("saved").glob("*.pth"))

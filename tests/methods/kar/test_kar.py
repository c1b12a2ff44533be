"""KAR reads frozen vectors of a teacher's answers through experts, and is served by look-ups."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import run_recbole
from recbole.utils import get_model, init_seed
from torch.nn import functional as F

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.backbones import BACKBONES, WITHOUT_VECTORS
from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.kar.experts import build_experts
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.methods.text_vectors.answers import teacher_answers, with_phrases
from recbole_clickprompt.methods.text_vectors.frozen_encoder import build_frozen_encoder
from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.load import load_trained
from recbole_clickprompt.trainer.protocols import FollowsTraining
from recbole_clickprompt.trainer.text_vectors import EncodesTexts
from tests.conftest import SMALL

KAR = {**SMALL, "shared_experts": 1, "level_experts": 2, "adaptor_size": 6, "user_blocks": 2, "profile_length": 3}


@pytest.fixture
def kar_config(tiny_bert):
    def make(**settings):
        return Config("KAR", "tiny", None, {**KAR, "plm": str(tiny_bert), **settings})

    return make


@pytest.fixture
def build(kar_config, make_data):
    """A model with begun training, and its training rows."""

    def make(**settings):
        config = kar_config(**settings)
        train = make_data(config)[0]._dataset
        init_seed(config["seed"], config["reproducibility"])
        model = get_model("KAR")(config, train)
        model.begin(train)
        return model, train

    return make


def step(model, rows):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    model.train()
    model.calculate_loss(rows).backward()
    optimizer.step()


def test_gates_sum_to_1_and_weigh_the_experts():
    torch.manual_seed(0)
    adaptors = build_experts(["item", "user"], shared=2, specific=5, width=4, hidden=6, out=3)
    adaptor, vectors = adaptors["item"], torch.randn(10, 4)
    adaptor.standardize(vectors)
    scaled = (vectors - adaptor.mean) * adaptor.scale
    gates = adaptor.layers.gate(scaled).softmax(1)
    assert gates.shape == (10, 7)
    torch.testing.assert_close(gates.sum(1), torch.ones(10))
    expected = sum(gates[:, [number]] * expert(scaled) for number, expert in enumerate(adaptor.layers.experts))
    torch.testing.assert_close(adaptor(vectors), expected)
    shared = [adaptors[level].layers.experts[:2] for level in ("item", "user")]
    assert all(one is other for one, other in zip(*shared, strict=True))
    own = {id(expert) for level in ("item", "user") for expert in adaptors[level].layers.experts[2:]}
    assert len(own) == 10


def test_a_single_expert_is_a_plain_mlp():
    (adaptor,) = build_experts(["item"], shared=1, specific=0, width=4, hidden=6, out=3).values()
    vectors = torch.randn(10, 4)
    torch.testing.assert_close(adaptor(vectors), adaptor.layers.experts[0](vectors))


def test_the_encoder_reads_texts_with_answers_and_texts_without_one_alone(build, kar_config, tiny_bert):
    model, train = build(user_knowledge="static")
    answers, encode = teacher_answers(kar_config(), "item", seed=1), SentenceEncoder(str(tiny_bert))
    level, texts = model.texts.levels["item"], {}
    for item in range(1, train.num("item_id")):
        key = str(train.id2token("item_id", item))
        text = level.texts.texts[level.index[item]]
        assert text.startswith("title is ")
        assert text.endswith(f"; {answers[key].implicit[-1]}.") is (key in answers)
        texts[item] = text
    vectors = level.vectors.rows[level.index[list(texts)]]
    torch.testing.assert_close(vectors, torch.from_numpy(encode(list(texts.values()))), atol=1e-5, rtol=0)
    users = model.texts.levels["user"]
    assert all("age is" in text for text in users.texts.texts if text)
    assert not vectors.requires_grad
    assert not level.vectors.rows[level.index[0]].any()  # no text


def test_an_item_without_a_text_is_what_the_teacher_says_and_one_without_both_is_average(build, kar_config):
    answers = teacher_answers(kar_config(), "item", seed=1)
    texts = with_phrases(kar_config(), ["", "", "name is A."], ["[PAD]", "i1", "no answer"], seed=1)
    assert texts[0] == ""
    assert texts[1].startswith(answers["i1"].explicit[0])
    assert texts[2] == "name is A."
    model, _ = build()
    adaptor = model.texts.named_levels()["item"].adaptor
    average = adaptor(adaptor.mean.unsqueeze(0) + 1e-9)
    torch.testing.assert_close(adaptor(torch.zeros(1, adaptor.width)), average, atol=1e-4, rtol=0)


def test_files_of_other_texts_are_refused(build, tmp_path):
    build()
    first, second = sorted(Path("saved").glob("text-vectors-*.safetensors"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(WeightsError, match="does not hold the vectors of these texts; delete it"):
        build()


def test_controls_read_the_text_alone_or_random_vectors_of_equal_length(build, kar_config):
    model, _ = build(knowledge_vectors="texts", knowledge=None)
    item = model.texts.levels["item"]
    assert all(text.endswith(".") and ";" not in text for text in item.texts.texts[1:])
    random, _ = build(knowledge_vectors="random", knowledge=None)
    other, again = random.texts.levels["item"].vectors.rows, build(knowledge_vectors="random")[0]
    assert torch.equal(other, again.texts.levels["item"].vectors.rows)
    torch.testing.assert_close(other[1:].norm(dim=1), item.vectors.rows[1:].norm(dim=1))
    cosine = F.normalize(other[1:], dim=1) @ F.normalize(other[1:], dim=1).T
    assert abs(cosine[~torch.eye(len(cosine), dtype=torch.bool)].mean()) < 0.1
    shuffled, _ = build(shuffle_knowledge=True)
    assert shuffled.texts.levels["item"].texts.texts != build()[0].texts.levels["item"].texts.texts


def test_vectors_are_encoded_once_and_read_from_a_file_later(build, monkeypatch):
    model, _ = build()
    read = []
    monkeypatch.setattr(SentenceEncoder, "__call__", lambda self, texts: read.append(texts))
    again, _ = build(learning_rate=0.1)
    assert read == []
    for name, level in model.texts.named_levels().items():
        assert torch.equal(level.vectors.rows, again.texts.levels[name].vectors.rows)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in WITHOUT_VECTORS])
def test_every_backbone_that_takes_fields_reads_both_vectors(build, backbone):
    history = {"history_length": 3} if backbone == "DIN" else {}
    model, train = build(backbone=backbone, user_knowledge="static", knowledge_vectors="random", **history)
    rows = train[torch.arange(64)]
    model.train()
    model.calculate_loss(rows).backward()
    for level in model.texts.named_levels().values():
        assert all(weight.grad.abs().sum() > 0 for weight in level.adaptor.parameters())


def test_kept_vectors_are_the_computed_ones_and_follow_training(build):
    model, train = build()
    rows = train[torch.arange(64)]
    assert isinstance(model, FollowsTraining)
    with torch.no_grad():
        before = model.eval().predict(rows)
        for name, key in (("item", "item_id"), ("user", "user_profile")):
            level = model.texts.levels[name]
            computed = level.adaptor(level.vectors.rows[level.index[rows[key]]])
            torch.testing.assert_close(model.texts.stored(name, rows[key]).read(), computed)
    step(model, rows)
    assert not model.texts.is_current
    with torch.no_grad():
        after = model.eval().predict(rows)
    assert not torch.allclose(before, after)
    assert model.texts.is_current


def test_profiles_do_not_show_a_rows_later_clicks(build):
    model, train = build()
    rows = train[torch.arange(len(train))]
    texts = model.texts.levels["user"].texts.texts
    index = model.texts.levels["user"].index[rows["user_profile"]]
    first = train.user_profiles.blocks[rows["user_profile"]] == 0
    assert not any("Liked:" in texts[number] for number in index[first].unique())
    assert any("Liked:" in texts[number] for number in index[~first].unique())


def test_without_profiles_only_items_have_vectors(build):
    model, train = build(user_knowledge="none")
    assert isinstance(model, EncodesTexts)
    assert model.vector_widths == {"item": 8}
    rows = train[torch.arange(16)]
    step(model, rows)
    assert model.eval().predict(rows).isfinite().all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backbone": "LR"}, "KAR adds fields, which LR does not support; use one of AFM"),
        ({"knowledge": None}, "knowledge_vectors: answers needs the answers of a teacher; name files of them"),
        ({"shuffle_knowledge": True, "knowledge_vectors": "texts"}, "shuffle_knowledge has no effect with"),
        ({"shared_experts": 0, "level_experts": 0}, "at least one expert is needed"),
        ({"pre_model_path": "x"}, "pre_model_path has no effect: KAR has no stage before finetuning"),
        ({"history_length": 3}, "history_length is 3, but DCNV2 does not read histories by itself"),
        ({"knowledge_vectors": "none"}, "knowledge_vectors must be one of answers, texts, random"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(kar_config, given, words):
    with pytest.raises(SettingError, match=words):
        kar_config(**given)


def test_texts_longer_than_the_encoder_reads_are_refused(kar_config):
    with pytest.raises(SettingError, match="max_text_length is 900, but the PLM reads at most 128 tokens"):
        build_frozen_encoder(kar_config(max_text_length=900))
    assert not build_frozen_encoder(kar_config()).of_texts("item", ["", ""]).any()


def test_users_without_any_text_are_refused(build):
    with pytest.raises(SettingError, match="user_knowledge: static gives no user a text; name fields of users"):
        build(user_knowledge="static", text_fields={"title": "title"})


def test_other_texts_or_answers_make_another_run(kar_config, make_data):
    def inputs(**given):
        config = kar_config(**given)
        return find_method("KAR").inputs(config, make_data(config)[0]._dataset)

    ours = inputs()
    assert inputs() == ours
    assert inputs(shuffle_knowledge=True)["encoded_texts"] != ours["encoded_texts"]
    assert inputs(knowledge_vectors="texts")["knowledge"] is None
    assert inputs(value_labels={"gender": {"F": "woman", "M": "man"}})["encoded_texts"] != ours["encoded_texts"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("kar")
    settings = {
        **KAR, "plm": str(tiny_bert), "epochs": 1, "train_rows": 300, "checkpoint_dir": str(folder / "saved")
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        run_recbole(model="KAR", dataset="tiny", config_dict=settings)
    (path,) = (folder / "saved").glob("KAR-*.pth")
    return path


def test_a_saved_run_scores_known_rows_without_the_encoder_and_new_ones_by_their_text(run, monkeypatch):
    table = open_run(run).predictions("test")
    names = torch.load(run)["state_dict"].keys()
    assert not any("vectors" in name or "encoder." in name.replace("encoder.trained_with", "") for name in names)
    loaded = []
    begin = SentenceEncoder.__init__

    def counted(self, *arguments, **more):
        loaded.append(1)
        begin(self, *arguments, **more)

    monkeypatch.setattr(SentenceEncoder, "__init__", counted)
    served = load_model(run)
    users = list(table["user"].unique()[:3])
    rows = pd.DataFrame({"user_id": users, "item_id": ["i1", "i2", "i3"], "device": "phone"})
    known = served.predict(rows)
    assert loaded == []
    new = pd.concat([rows, rows.assign(item_id="new"), rows.assign(user_id="new")], ignore_index=True)
    new["title"], new["genre"], new["gender"] = "Grim Golden Tale", "Comedy", "F"
    scores = served.predict(new)
    assert scores[:3] == pytest.approx(known, abs=1e-6)
    assert loaded == [1]
    other = served.predict(new.assign(title="Silent River"))
    assert (np.abs(other[3:6] - scores[3:6]) > 1e-7).all()
    model = load_trained(run).model
    vectors = model.encode_texts("item", ["title is Grim Golden Tale. genre is Comedy."])
    assert vectors.shape == (1, 8)


def test_another_encoder_than_that_of_training_encodes_nothing(run, tiny_bert, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_bert, other)
    (other / "special_tokens_map.json").write_text("{} ")
    model = load_trained(run).model
    assert model.encode_texts("item", ["title is Grim."]).isfinite().all()
    config = Config("KAR", "tiny", None, {**KAR, "plm": str(other)})
    encoder = build_frozen_encoder(config)
    encoder.load_state_dict(model.texts.encoder.state_dict())
    with pytest.raises(
        WeightsError, match="its files, or max_text_length, are not those that the model was trained"
    ):
        encoder.of_texts("item", ["title is Grim."])


def test_the_vector_of_a_known_text_is_the_kept_one(kar_config, build):
    model, train = build(knowledge_vectors="texts")
    model.eval().predict(train[torch.arange(2)])
    for name, level in model.texts.named_levels().items():
        texts = level.texts.texts[:20]
        ids = [level.index.tolist().index(number) for number in range(20)]
        torch.testing.assert_close(model.encode_texts(name, texts), level.adapted.rows[ids], atol=1e-5, rtol=0)


def test_an_export_holds_the_kept_vectors(run, capsys):
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    assert main(["export", str(run), "--out=model", "--rows=20"]) == 0
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": ["phone", "phone"]})
    assert load_model("model").predict(rows) == pytest.approx(load_model(run).predict(rows), abs=1e-5)


def test_a_missing_file_of_answers_is_reported_in_one_line(tiny_bert, capsys):
    flags = [f"--{key}={json.dumps(value)}" for key, value in {**KAR, "plm": str(tiny_bert)}.items()]
    assert main(["run", "--model=KAR", "--dataset=tiny", "--knowledge=[nowhere.jsonl]", *flags]) == 2
    assert "there is no knowledge file 'nowhere.jsonl'" in capsys.readouterr().err

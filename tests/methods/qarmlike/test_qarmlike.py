"""Semantic ids: codes of items' texts by residual k-means, fitted on items of training rows alone."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import run_recbole
from recbole.utils import get_model, init_seed

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.backbones import BACKBONES, WITHOUT_VECTORS
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.qarmlike.residual_kmeans import assign_codes, fit_codebooks
from recbole_clickprompt.methods.text_vectors.texts import encoded_texts
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.load import load_trained
from recbole_clickprompt.trainer.text_vectors import EncodesTexts
from tests.conftest import SMALL

QARM = {**SMALL, "codebook_size": 4}


@pytest.fixture
def qarm_config(tiny_bert):
    def make(**settings):
        return Config("QARMLike", "tiny", None, {**QARM, "plm": str(tiny_bert), **settings})

    return make


@pytest.fixture
def build(qarm_config, make_data):
    """A model with fitted codes, and its three parts of the data set."""

    def make(**settings):
        config = qarm_config(**settings)
        parts = [loader._dataset for loader in make_data(config)]
        init_seed(config["seed"], config["reproducibility"])
        model = get_model("QARMLike")(config, parts[0])
        seen = parts[0].inter_feat["item_id"].unique().long()
        model.fit_codes(encoded_texts(config, parts[0], "item"), seen, seed=config["seed"])
        return model, parts

    return make


def test_the_error_of_reconstruction_falls_by_level():
    torch.manual_seed(0)
    vectors = torch.randn(200, 6)
    codebooks = fit_codebooks(vectors, levels=3, size=8, seed=1)
    codes = assign_codes(vectors, codebooks)
    assert codebooks.shape == (3, 8, 6)
    assert codes.min() >= 0
    assert codes.max() == 7
    rebuilt, errors = torch.zeros_like(vectors), [vectors.square().sum(1).mean()]
    for level in range(3):
        rebuilt = rebuilt + codebooks[level][codes[:, level]]
        errors.append((vectors - rebuilt).square().sum(1).mean())
    assert all(later < 0.9 * earlier for earlier, later in pairwise(errors))
    assert torch.equal(codebooks, fit_codebooks(vectors, levels=3, size=8, seed=1))


def test_each_code_is_that_of_the_nearest_centroid_and_no_text_has_a_code_of_its_own():
    torch.manual_seed(0)
    codebooks, vectors = torch.randn(2, 5, 3), torch.randn(40, 3)
    vectors[7] = 0
    codes = assign_codes(vectors, codebooks)
    for number, vector in enumerate(vectors):
        if number == 7:
            assert codes[number].tolist() == [5, 5]
            continue
        for level in range(2):
            distances = [float((vector - centroid).norm()) for centroid in codebooks[level]]
            assert codes[number, level] == int(np.argmin(distances))
            vector = vector - codebooks[level][codes[number, level]]


def test_more_centroids_than_different_vectors_are_refused():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    with pytest.raises(SettingError, match="codebook_size is 3, but the training rows have 2 different texts"):
        fit_codebooks(vectors, levels=1, size=3, seed=1)
    with pytest.raises(SettingError, match="have 1 different texts, and codes need at least 2; name fields"):
        fit_codebooks(vectors[1:], levels=1, size=2, seed=1)
    with pytest.raises(SettingError, match="1 different residuals before level 2; .* or lower code_levels"):
        fit_codebooks(vectors, levels=2, size=2, seed=1)


def test_items_of_equal_text_share_their_codes(build, qarm_config):
    model, (train, *_) = build(text_fields={"genre": "genre"}, codebook_size=2, code_levels=2)
    texts = encoded_texts(qarm_config(), train, "item")
    by_text = {}
    for text, codes in zip(texts, model.codes.tolist(), strict=True):
        assert by_text.setdefault(text, codes) == codes
    assert 2 < len(by_text) < len(texts)
    assert model.codes[0].tolist() == [2, 2]  # no text
    assert len(model.codes[1:].unique(dim=0)) > 2


def test_the_fit_sees_no_item_that_is_only_in_other_parts_and_such_items_have_codes(build, monkeypatch):
    model, (train, valid, test) = build(cold_start="item_id")
    seen = train.inter_feat["item_id"].unique().long()
    later = torch.cat([part.inter_feat["item_id"] for part in (valid, test)]).unique().long()
    assert not set(seen.tolist()) & set(later.tolist())
    texts = [str(item) for item in range(len(model.codes))]
    vectors, fitted = torch.randn(len(texts), 16), []
    monkeypatch.setattr(model.encoder, "kept", lambda texts: vectors)
    for _ in range(2):
        model.fit_codes(texts, seen, seed=1)
        fitted.append((model.codebooks.clone(), model.codes.clone()))
        vectors[later] = torch.randn(len(later), 16)
    (first, codes), (second, others) = fitted
    assert torch.equal(first, second)
    assert torch.equal(codes[seen], others[seen])
    assert not torch.equal(codes[later], others[later])
    assert (others[later] < 4).all()


def test_the_history_is_the_mean_of_the_codes_of_its_clicks(build):
    model, (train, *_) = build(history_length=3)
    rows = train[torch.arange(40)]
    vectors = model.vectors(rows)
    assert vectors.shape == (40, 6, 8)
    for row in range(40):
        codes = model.codes[rows["item_id"][row]]
        target = [table.weight[code] for table, code in zip(model.tables, codes, strict=True)]
        torch.testing.assert_close(vectors[row, :3], torch.stack(target))
        clicks = rows["item_id_list"][row, : rows["item_length"][row]]
        for level, table in enumerate(model.tables):
            mean = table(model.codes[clicks, level]).mean(0) if len(clicks) else torch.zeros(8)
            torch.testing.assert_close(vectors[row, 3 + level], mean)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.vectors(rows), vectors)
    both, (train, *_) = build(history_length=3, history="all")
    rows = train[torch.arange(40)]
    before = both.vectors(rows)
    disliked = (rows["label_list"] == 0) & (torch.arange(3) < rows["item_length"][:, None])
    assert disliked.any()
    rows["item_id_list"][disliked] = 5
    assert torch.equal(both.vectors(rows), before)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in WITHOUT_VECTORS])
def test_every_backbone_that_takes_fields_trains_the_code_tables(build, backbone):
    history = {"history_length": 3} if backbone == "DIN" else {}
    model, (train, *_) = build(backbone=backbone, **history)
    model.train()
    model.calculate_loss(train[torch.arange(64)]).backward()
    for table in model.tables:
        assert table.weight.grad[:4].abs().sum() > 0
        assert not table.weight.grad[4].any()
        assert not table.weight[4].any()


def test_the_number_of_codes_follows_the_number_of_items(build, qarm_config, make_data):
    config = qarm_config(codebook_size=None)
    train = make_data(config)[0]._dataset
    model = get_model("QARMLike")(config, train)
    assert model.codebooks.shape == (3, train.num("item_id") // 8, 16)
    assert isinstance(model, EncodesTexts)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backbone": "FFM"}, "QARMLike adds fields, which FFM does not support; use one of AFM"),
        ({"user_knowledge": "static"}, "user_knowledge has no effect: QARMLike reads texts of items alone"),
        ({"knowledge_vectors": "answers", "knowledge": None}, "needs the answers of a teacher"),
        ({"shuffle_knowledge": True}, "shuffle_knowledge has no effect with knowledge_vectors: texts"),
        ({"pre_model_path": "x"}, "pre_model_path has no effect: QARMLike has no stage before finetuning"),
        ({"codebook_size": 1}, "codebook_size must be an integer, 2 or more"),
        ({"history": "all"}, "history: all is about click histories"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(qarm_config, given, words):
    with pytest.raises(SettingError, match=words):
        qarm_config(**given)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("qarm")
    settings = {
        **QARM, "plm": str(tiny_bert), "epochs": 1, "train_rows": 300, "history_length": 2,
        "checkpoint_dir": str(folder / "saved"),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        run_recbole(model="QARMLike", dataset="tiny", config_dict=settings)
    (path,) = (folder / "saved").glob("QARMLike-*.pth")
    return path


def test_a_new_item_has_the_codes_of_its_text_in_serving(run):
    trained = load_trained(run)
    items = pd.DataFrame({"item_id": trained.preprocessing.vocabulary["item_id"][1:4]})
    rows = items.assign(user_id="u1", device="phone", item_id_list="i1|i2")
    served = load_model(run)
    known = served.predict(rows)
    assert served.cache.encoded == 0
    new = pd.concat([rows.assign(item_id="new", title=title) for title in ("Grim Tale", "Merry Summer House")])
    assert np.isfinite(served.predict(new)).all()
    assert served.cache.encoded == 2
    text = "title is Grim Tale."
    codes = trained.model.encode_texts("item", [text, ""])
    assert codes.shape == (2, 3)
    assert codes[1].tolist() == [4, 4, 4]
    assert codes.dtype == torch.float32
    assert known == pytest.approx(load_model(run).predict(rows))
    table = open_run(run).predictions("test")
    assert torch.sigmoid(torch.tensor(table["logit"])).numpy() == pytest.approx(table["score"], abs=1e-6)


def test_an_export_holds_the_codes(run, capsys):
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    assert main(["export", str(run), "--out=model", "--rows=20"]) == 0
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": ["phone", "phone"]})
    rows["item_id_list"] = "i1|i3"
    assert load_model("model").predict(rows) == pytest.approx(load_model(run).predict(rows), abs=1e-5)

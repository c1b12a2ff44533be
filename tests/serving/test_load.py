"""A finetuned model scores raw rows as its trainer did, and rows that training never saw."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer

import recbole_clickprompt
from recbole_clickprompt.errors import DataError, SettingError, StorageError, WeightsError
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.columns import raw_values, to_table
from recbole_clickprompt.serving.load import load_trained
from recbole_clickprompt.serving.rows import Counts, RowEncoder
from recbole_clickprompt.tensor_cache import TensorCache
from tests.serving.conftest import with_features


@pytest.fixture(scope="module")
def served(with_plm):
    return load_model(with_plm.checkpoint)


@pytest.fixture(scope="module")
def encoder(with_plm):
    return RowEncoder(load_trained(with_plm.checkpoint).preprocessing)


@pytest.mark.parametrize("run", ["with_plm", "without_plm"])
def test_known_rows_get_their_training_time_scores(run, request):
    trained = request.getfixturevalue(run)
    model = load_model(trained.checkpoint)
    np.testing.assert_allclose(model.predict(trained.rows), trained.scores, atol=1e-6, rtol=0)
    shuffled = with_features(trained.rows)[::-1]
    np.testing.assert_allclose(model.predict(shuffled)[::-1], trained.scores, atol=1e-6, rtol=0)


def test_the_kept_preprocessing_is_that_of_the_data_set(with_plm, tmp_path, monkeypatch):
    rows = with_features(with_plm.rows).assign(item_id="new")
    alone = load_model(shutil.copy(with_plm.checkpoint, tmp_path / "run.pth"))
    monkeypatch.setattr("recbole_clickprompt.serving.load.build_data", None)
    for run in (with_plm.checkpoint, with_plm.checkpoint.with_suffix("")):
        assert np.array_equal(load_model(run).predict(rows), alone.predict(rows))


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_with_interaction_layers_known_texts_have_the_states_of_training(amp, layers, train):
    run = train("ClickPrompt", plm_interaction_layers=layers, enable_amp=amp)
    model = load_model(run.checkpoint)
    scores = model.predict(run.rows)
    assert np.array_equal(scores, run.scores)
    apart = np.concatenate([model.predict(run.rows[start : start + 20]) for start in range(0, len(run.rows), 20)])
    np.testing.assert_allclose(apart, run.scores, atol=1e-3 if amp else 1e-6, rtol=0)


def test_states_that_training_did_not_leave_are_computed_again(train, tmp_path):
    run = train("ClickPrompt", plm_interaction_layers=1)
    copied = shutil.copy(run.checkpoint, tmp_path)
    shutil.copytree(run.checkpoint.with_suffix(""), Path(copied).with_suffix(""))
    assert np.array_equal(load_model(copied).predict(run.rows), run.scores)
    (found,) = tmp_path.glob("states-*.safetensors")
    assert found.read_bytes() == (run.checkpoint.parent / found.name).read_bytes()


def test_states_are_computed_for_one_process_where_the_folder_is_read_only(train, tmp_path, monkeypatch, caplog):
    run = train("ClickPrompt", plm_interaction_layers=1)
    copied = shutil.copy(run.checkpoint, tmp_path)
    shutil.copytree(run.checkpoint.with_suffix(""), Path(copied).with_suffix(""))
    write = TensorCache.write_in_place

    def refuse(cache, path, *arguments):
        if path.parent == tmp_path:
            raise StorageError(f"{path} cannot be written: Read-only file system")
        return write(cache, path, *arguments)

    monkeypatch.setattr(TensorCache, "write_in_place", refuse)
    assert np.array_equal(load_model(copied).predict(run.rows), run.scores)
    assert not list(tmp_path.glob("states-*"))
    assert "Read-only file system; states of texts are computed again in each process" in caplog.text


def test_known_texts_pass_through_no_frozen_layer_and_the_inference_cache_is_built_once(train, monkeypatch):
    run = train("ClickPrompt", plm_interaction_layers=1)
    model = load_model(run.checkpoint)
    model.predict(run.rows)
    cache = model._scores.model._cache
    monkeypatch.setattr(PromptedEncoder, "encode_lower", None)
    monkeypatch.setattr(PromptedEncoder, "forward", None)
    np.testing.assert_allclose(model.predict(run.rows[:50]), run.scores[:50], atol=1e-6, rtol=0)
    assert cache is not None
    assert model._scores.model._cache is cache


def test_frozen_layers_read_unseen_texts_once_whatever_the_batch(train, monkeypatch):
    run = train("ClickPrompt", plm_interaction_layers=1)
    model = load_model(run.checkpoint)
    unseen = with_features(run.rows[:30]).assign(item_id="new", title=["Sunny Tale", "Grim Haunted Road"] * 15)
    unseen["genre"], unseen["year"] = "Drama", "1996"
    encoded = []
    encode = model._scores.states._encode
    monkeypatch.setattr(model._scores.states, "_encode", lambda ids, n: encoded.append(len(ids)) or encode(ids, n))
    scores = model.predict(unseen)
    assert sum(encoded) == 2
    mixed = pd.concat([run.rows[:30], unseen])
    np.testing.assert_allclose(model.predict(mixed), [*run.scores[:30], *scores], atol=1e-6, rtol=0)


def test_an_unseen_text_has_the_state_of_the_same_known_text(train):
    run = train("ClickPrompt", plm_interaction_layers=1)
    states = load_model(run.checkpoint)._scores.states
    table, text = states.table, states._text
    for index, segment in enumerate(text.segments):
        offsets = table.get_buffer(f"offsets_{index}").tolist()
        assert segment.offsets[1] == 0  # an unknown id without features has no text
        tokens = [tuple(segment.values[b:e].tolist()) for b, e in pairwise(segment.offsets)]
        for number, found in enumerate(states._encoded(index, tokens)):
            known = table.states[offsets[number] : offsets[number + 1]]
            # Sums in another order are rounded to the next bf16 number here and there
            torch.testing.assert_close(found, known, atol=0.02, rtol=0.01)


@pytest.mark.parametrize("spoilt", ["schema.json", "features.npz", "tokens.npz", "vocabulary.json"])
def test_a_damaged_preprocessing_is_refused_by_name(with_plm, tmp_path, spoilt):
    load_trained(with_plm.checkpoint).preprocessing.save(tmp_path)
    (tmp_path / spoilt).write_text("{")
    with pytest.raises(DataError, match=f"{tmp_path.name} contains a damaged file"):
        Preprocessing.load(tmp_path)
    (tmp_path / "schema.json").unlink()
    with pytest.raises(DataError, match="it has no schema.json"):
        Preprocessing.load(tmp_path)


@pytest.mark.parametrize("how", [pl.from_pandas, lambda rows: pa.Table.from_pandas(rows, preserve_index=False)])
def test_polars_and_arrow_tables_are_rows_too(served, with_plm, how):
    rows = with_plm.rows[:5]
    assert np.array_equal(served.predict(how(rows)), served.predict(rows))


def test_the_text_of_an_unseen_item_is_made_of_the_rows_own_columns(encoder, tiny_bert):
    row = {"user_id": "u1", "device": "watch", "item_id": "i999", "title": "Grim  Golden Tale", "year": 1996.0}
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    counts = Counts()
    encoded = encoder(to_table(pd.DataFrame([{**row, "genre": "Drama Opera"}])), counts)
    expected = tokenizer(
        "user ID is u1. gender is female. age is 25-34. job is baker. device is watch. film ID is i999. "
        "title is Grim Golden Tale. year is 1996. genre is Drama Opera."
    )["input_ids"]
    assert encoded["input_ids"].tolist() == [expected]
    assert encoded["text_length"].tolist() == [len(expected)]
    assert +counts.unseen == {"device": 1, "item_id": 1, "title": 1, "genre": 1}


def test_byte_level_tokens_of_unseen_users_are_those_of_the_sentence(train, tiny_roberta):
    run = train("ClickPrompt", plm=str(tiny_roberta))
    encoder = RowEncoder(load_trained(run.checkpoint).preprocessing)
    rows = pd.DataFrame(
        {"user_id": ["u77", None], "gender": ["M", "F"], "device": ["phone", "phone"], "item_id": ["i1", "i1"]}
    )
    encoded = encoder(to_table(rows), Counts())
    tokenizer = AutoTokenizer.from_pretrained(tiny_roberta)
    rest = "device is phone. film ID is i1. title is Bitter Garden. year is 1996. genre is Sci-Fi Drama."
    for row, start in enumerate(["user ID is u77. gender is male. ", "gender is female. "]):
        expected = tokenizer(start + rest)["input_ids"]
        assert encoded["input_ids"][row, : encoded["text_length"][row]].tolist() == expected


def test_an_unseen_items_own_features_are_read_and_a_known_ones_are_those_of_training(encoder):
    own = {"title": "Bitter Garden", "year": 1996.0, "genre": "Drama Sci-Fi", "device": "phone", "user_id": "u1"}
    known, unseen = {"item_id": "i1"}, {"item_id": "new"}
    rows = pd.DataFrame([{**own, **known}, {**own, **unseen}, {**own, **known, "year": 1960.0}])
    counts = Counts()
    encoded = encoder(to_table(rows), counts)
    assert encoded["item_id"].tolist()[1] == 0
    assert encoded["title"][0] == encoded["title"][1] > 0
    np.testing.assert_array_equal(encoded["year"][0], encoded["year"][1])
    np.testing.assert_array_equal(encoded["year"][0], encoded["year"][2])  # training's, not 1960
    assert sorted(encoded["genre"][0]) == sorted(encoded["genre"][1])
    assert counts.overridden == 1  # the year of the last row; the order of genres is none of a model's business


def test_a_row_without_anything_known_is_scored(served):
    rows = pd.DataFrame({"user_id": ["x", None], "item_id": [None, "y"], "device": [None, None]})
    scores = served.predict(rows)
    assert scores.shape == (2,)
    assert ((scores > 0) & (scores < 1)).all()


def test_an_unseen_title_changes_the_score_with_the_plm(served, with_plm):
    row = {"user_id": "u1", "device": "phone", "item_id": "new"}
    rows = pd.DataFrame([{**row, "title": "Sunny Tale"}, {**row, "title": "Grim Haunted Road"}])
    first, second = served.predict(rows)
    assert abs(first - second) > 1e-6


def test_numbers_are_scaled_as_in_training_and_beyond_its_range(encoder, with_plm):
    rows = pd.DataFrame({"user_id": "u1", "device": "phone", "item_id": "new", "year": [1950.0, 1990.0, None]})
    scale = encoder.preprocessing.fields["year"].scale
    expected = [(year - scale.low) / (scale.high - scale.low) for year in (1950.0, 1990.0, scale.missing)]
    encoded = encoder(to_table(rows), Counts())["year"]
    np.testing.assert_allclose(encoded[:, 0], expected, rtol=1e-6)
    assert encoded[:, 1].tolist() == [1, 1, 1]


GOOD = {"user_id": ["u1"], "item_id": ["i1"], "device": ["phone"]}
BAD_TABLES = {
    "no item": ({"user_id": ["u1"], "device": ["phone"]}, "has no column 'item_id'"),
    "misspelt item": ({"user_id": ["u1"], "itemid": ["i1"]}, "not a field of tiny; did you mean item_id?"),
    "no context": ({"user_id": ["u1"], "item_id": ["i1"]}, "has no column 'device', which the model reads"),
    "unknown": ({**GOOD, "titel": ["x"]}, "did you mean title?"),
    "text for numbers": ({**GOOD, "year": ["MCM"]}, "a float field and accepts numbers, got 'MCM' in row 1"),
    "truth for numbers": ({**GOOD, "year": [True]}, "year is a float field and accepts numbers, got bool"),
    "several types": ({**GOOD, "job": [b"x"]}, "job is a token field and accepts texts, numbers or"),
    "no rows": ({name: [] for name in GOOD}, "the table has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_one_clear_error(served, case):
    columns, message = BAD_TABLES[case]
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        served.predict(pd.DataFrame(columns))


def test_numbers_and_truth_values_stand_for_their_codes(served, with_plm):
    rows = pd.DataFrame({"user_id": "new", "item_id": "i1", "device": "phone", "age": ["25", "", "35"]})
    given = rows.assign(age=[25.0, float("nan"), 35.0])
    assert np.array_equal(served.predict(given), served.predict(rows))
    field = load_trained(with_plm.checkpoint).preprocessing.fields["age"]
    assert raw_values(pa.chunked_array([[True, None, False]]), field, " ", 1).tolist() == ["true", None, "false"]


def test_the_package_itself_offers_it():
    assert recbole_clickprompt.load_model is load_model
    with pytest.raises(AttributeError, match="no attribute 'lod_model'"):
        recbole_clickprompt.lod_model  # noqa: B018


def test_rows_that_are_no_table_are_refused(served):
    with pytest.raises(DataError, match="rows must be a DataFrame, got list"):
        served.predict([1, 2])


def test_bad_checkpoints_are_refused_by_name(with_plm, tmp_path):
    with pytest.raises(WeightsError, match="there is no file .*none.pth"):
        load_model("none.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(with_plm.checkpoint.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="broken.pth is damaged or foreign, expected a model saved by"):
        load_model(broken)
    foreign = torch.load(with_plm.checkpoint)
    foreign["config"]["model"] = "DeepFM"
    torch.save(foreign, tmp_path / "foreign.pth")
    with pytest.raises(WeightsError, match="foreign.pth is a checkpoint of the model 'DeepFM'"):
        load_model(tmp_path / "foreign.pth")
    with pytest.raises(SettingError, match="device must be cpu, or cuda if there is a GPU; got 'tpu'"):
        load_model(with_plm.checkpoint, "tpu")


def test_a_folder_without_a_name_of_its_own_is_one_line_of_error(tmp_path):
    with pytest.raises(WeightsError, match=f"there is no file {tmp_path}.pth"):
        load_model(".")

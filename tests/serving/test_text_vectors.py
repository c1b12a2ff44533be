"""Users and items that training never saw are scored by their texts, whose vectors are cached."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tests.methods.text_vectors  # noqa: F401 - registers the method
from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.columns import check_columns, to_table, with_field_names
from recbole_clickprompt.serving.load import load_trained
from recbole_clickprompt.serving.rows import Counts, RowEncoder
from recbole_clickprompt.serving.scores import TorchScores
from recbole_clickprompt.trainer.text_vectors import EncodesTexts, encoded_levels
from tests.serving.conftest import assert_script_agrees, atomic, with_features


@pytest.fixture(scope="module")
def run(train):
    return train("TextVectors", backbone="DNN", numerical_features=["year"], normalize_field=["year"])


@pytest.fixture(scope="module")
def trained(run):
    return load_trained(run.checkpoint)


def unseen(rows):
    """The rows with features, and ids that training never saw."""
    return with_features(rows).assign(item_id=[f"new {number % 40}" for number in range(len(rows))], user_id="me")


def direct(trained, rows):
    """Scores of rows whose texts the model encodes one row at a time, without a cache."""
    table = to_table(rows)
    encoder = RowEncoder(trained.preprocessing, encodes_texts=True)
    fields = check_columns(trained.preprocessing, table.column_names, source="rows")
    columns = encoder(with_field_names(table, fields), Counts())
    texts = {level: columns.pop(f"{level}_text") for level in ("user", "item")}
    scores = TorchScores(trained.model, torch.device("cpu"), False)
    found = []
    for row in range(len(rows)):
        part = {name: values[row : row + 1] for name, values in columns.items()}
        for level, values in texts.items():
            if values[row] is not None:
                part[f"{level}_vector"] = trained.model.encode_texts(level, [values[row]]).numpy()
        found.append(scores(part)[0])
    return np.array(found)


def test_the_model_is_one_that_encodes_texts(trained, without_plm):
    assert isinstance(trained.model, EncodesTexts)
    assert encoded_levels(trained.model) == ["user", "item"]
    assert encoded_levels(load_trained(without_plm.checkpoint).model) == []
    names = trained.preprocessing.descriptions.names
    assert names["item"] == {"title": "title", "year": "year", "genre": "genre"}
    assert list(names["user"]) == ["gender", "age", "job"]


def test_known_rows_read_the_models_own_vectors(run):
    model = load_model(run.checkpoint)
    np.testing.assert_allclose(model.predict(run.rows), run.scores, atol=1e-6, rtol=0)
    np.testing.assert_allclose(model.predict(with_features(run.rows)), run.scores, atol=1e-6, rtol=0)
    assert model.cache.encoded == 0


@pytest.mark.parametrize("level", ["user", "item"])
def test_texts_of_rows_are_those_of_training(level, run, trained):
    known = atomic(level)
    known = known[known[f"{level}_id"].isin(trained.preprocessing.vocabulary[f"{level}_id"])]
    other = {"user": "item_id", "item": "user_id"}[level]
    rows = known.assign(device="phone", **{f"{level}_id": [f"new {i}" for i in range(len(known))], other: "?"})
    encoder = RowEncoder(trained.preprocessing, encodes_texts=True)
    texts = encoder(to_table(rows), Counts())[f"{level}_text"].tolist()
    ids = pd.Index(trained.preprocessing.vocabulary[f"{level}_id"]).get_indexer(known[f"{level}_id"])
    table = trained.model.get_buffer(f"{level}_vectors")[ids]
    found = trained.model.encode_texts(level, [text or "" for text in texts])
    assert len(ids) > 30
    torch.testing.assert_close(found, table)


def test_scores_are_the_same_with_the_cache_cold_warm_small_and_off(run, trained):
    rows = unseen(run.rows)
    rows.loc[::3, "item_id"] = run.rows["item_id"][::3]  # known items of unseen users, and the other way round
    rows.loc[::4, "user_id"] = run.rows["user_id"][::4]
    expected = direct(trained, rows)
    assert np.ptp(expected) > 0.1
    model = load_model(run.checkpoint)
    for _ in range(2):
        np.testing.assert_allclose(model.predict(rows), expected, atol=1e-6, rtol=0)
    counters = model.cache.counters()
    assert counters["encoded"] == counters["memory"]["item"]["vectors"] + counters["memory"]["user"]["vectors"]
    assert counters["memory"]["item"]["hits"] == counters["memory"]["item"]["misses"] > 10
    for items in (0, 3):
        limited = load_model(run.checkpoint, cache_items=items, cache_ttl=100)
        for _ in range(2):
            np.testing.assert_allclose(limited.predict(rows), expected, atol=1e-6, rtol=0)
    assert limited.cache.counters()["memory"]["item"]["evictions"] > 0
    np.testing.assert_allclose(model.predict(rows[::-1])[::-1], expected, atol=1e-6, rtol=0)


def test_the_text_of_an_unseen_item_matters_and_its_id_does_not(run):
    model = load_model(run.checkpoint)
    rows = unseen(run.rows)
    scores = model.predict(rows)
    assert np.array_equal(model.predict(rows.assign(item_id="another")), scores)
    assert not np.allclose(model.predict(rows.assign(item_text="title is Something Else.")), scores, atol=1e-3)


def test_a_text_that_the_caller_writes_replaces_that_of_the_fields(run, caplog):
    model = load_model(run.checkpoint)
    fields = pd.DataFrame({"user_id": ["u1"], "item_id": ["x"], "device": ["phone"], "title": ["Sunny Day"]})
    written = fields.drop(columns="title").assign(item_text="title is  Sunny Day. ")
    expected = model.predict(fields)
    assert model.cache.encoded == 1
    assert not np.array_equal(model.predict(fields.assign(item_text="quiet drama")), expected)
    # The title is a feature of the backbone too, but one that training never saw
    assert np.array_equal(model.predict(written), expected)
    assert model.cache.encoded == 2
    known = run.rows[:1].assign(item_text="anything")
    assert model.predict(known) == pytest.approx(run.scores[:1], abs=1e-6)
    caplog.clear()
    model.predict(written.assign(item_text=""))
    assert "item_id: 1 rows with an unseen id have no text of it; they were scored without a text" in caplog.text
    with pytest.raises(DataError, match="item_text is a token field and accepts texts"):
        model.predict(written.assign(item_text=[["a"]]))


def test_rows_without_a_text_are_scored_by_the_models_row_0(run, trained):
    rows = run.rows[:5].assign(item_id="new")
    assert np.array_equal(load_model(run.checkpoint).predict(rows), load_model(run.checkpoint).predict(rows))
    np.testing.assert_allclose(load_model(run.checkpoint).predict(rows), direct(trained, rows), atol=1e-6, rtol=0)


def test_a_run_without_its_preprocessing_describes_texts_alike(run, tmp_path):
    alone = load_model(shutil.copy(run.checkpoint, tmp_path / "run.pth"))
    rows = unseen(run.rows)
    assert np.array_equal(alone.predict(rows), load_model(run.checkpoint).predict(rows))


def test_an_export_scores_known_rows_and_counts_texts_that_it_cannot_encode(run, capsys):
    assert main(["export", str(run.checkpoint), "-o", "model", "--rows=50"]) == 0
    assert (
        "texts of users and items that training never saw are not encoded by an export" in capsys.readouterr().out
    )
    model = load_model("model")
    np.testing.assert_allclose(model.predict(run.rows), run.scores, atol=1e-5, rtol=0)
    with_text = run.rows[:4].assign(item_id=["a", "b", "c", run.rows["item_id"][3]], item_text="title is Day.")
    with_text.to_csv("rows.csv", index=False)
    assert main(["predict", "model", "rows.csv", "-o", "scores.csv"]) == 0
    out = capsys.readouterr().out
    assert (
        out.count("item_id: 3 rows with an unseen id were scored without its text: an export holds the vectors")
        == 1
    )
    without = load_model(run.checkpoint).predict(with_text.drop(columns="item_text"))
    np.testing.assert_allclose(pd.read_csv("scores.csv")["score"], without, atol=1e-5, rtol=0)
    assert_script_agrees(Path("model"), with_text)


def test_options_of_the_cache_need_a_model_that_encodes_texts(run, without_plm, capsys):
    for options in ({"cache_items": 5}, {"cache_ttl": 5}, {"redis_url": "redis://localhost"}):
        (name,) = options
        with pytest.raises(SettingError, match=f"encodes no texts of users or items one by one.*leave out {name}"):
            load_model(without_plm.checkpoint, **options)
    run.rows.to_csv("rows.csv", index=False)
    command = ["predict", str(run.checkpoint), "rows.csv", "-o", "scores.csv"]
    assert main([*command, "--cache-items=10", "--cache-ttl=60"]) == 0
    assert main([*command, "--cache-items=-1"]) == 2
    assert "cache_items must be a whole number of 0 or more, got -1" in capsys.readouterr().err
    assert main([*command, "--redis-url=http://localhost"]) == 2
    assert "redis_url must begin with redis://" in capsys.readouterr().err


def test_latency_by_the_share_of_cached_texts(run, without_plm, capsys):
    folders = [str(one.checkpoint.with_suffix("")) for one in (run, without_plm)]
    sizes = ["--batch-size=20", "--batches=2", "--rounds=2"]
    assert main(["latency", *folders, *sizes, "--hit-rates=0,0.5,1"]) == 0
    first, how, second = capsys.readouterr().out.strip().split("\n\n")
    assert len(first.splitlines()) == 4
    assert how.startswith("2 batches of 20 rows, 2 rounds, CPU")
    header, _, *lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in second.splitlines()]
    assert header == ["run", "hit rate", "p50, ms per 20 unseen items", "p95, ms", "texts encoded"]
    assert [(line[1], line[4]) for line in lines] == [("0", "20"), ("0.5", "10"), ("1", "0")]
    assert all(0 < float(line[2]) <= float(line[3]) for line in lines)
    assert main(["latency", folders[1], *sizes]) == 0
    assert "hit rate" not in capsys.readouterr().out
    for rates in ("", "0,x", "1.5"):
        assert main(["latency", *folders, f"--hit-rates={rates}"]) == 2
        assert "--hit-rates must be numbers from 0 to 1, separated by commas" in capsys.readouterr().err

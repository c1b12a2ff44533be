"""A trained model scores users and items that training never saw by what its student reads about them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.knowledge.records import read_answers
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.columns import to_table
from recbole_clickprompt.serving.load import load_trained
from recbole_clickprompt.serving.rows import Counts, RowEncoder
from tests.methods.msd.students import SETTINGS
from tests.serving.conftest import atomic


@pytest.fixture(scope="module")
def run(student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("msd")
    settings = {**SETTINGS, "student": str(student), "epochs": 1, "train_rows": 300, "checkpoint_dir": str(folder)}
    return run_recbole(model="MSD", dataset="tiny", config_dict=settings)["checkpoint"]


@pytest.fixture(scope="module")
def rows():
    """Pairs of known users and all items, with the features of the items and a history."""
    items = atomic("item")
    users = np.resize(atomic("user")["user_id"][:20], len(items))
    return items.assign(user_id=users, device="phone", item_id_list="i1|i2|i3")


def unseen(rows):
    return rows.assign(item_id=[f"new {item}" for item in rows["item_id"]])


def test_the_vector_of_an_items_text_is_that_of_the_item(run, rows):
    trained = load_trained(Path(run))
    known = rows[rows["item_id"].isin(trained.preprocessing.vocabulary["item_id"])]
    ids = pd.Index(trained.preprocessing.vocabulary["item_id"]).get_indexer(known["item_id"])
    encoder = RowEncoder(trained.preprocessing, encodes_texts=True)
    columns = encoder(to_table(unseen(known).drop(columns="item_id_list")), Counts())
    texts = [text or "" for text in columns["item_text"]]
    stored = trained.model.texts.levels["item"].adapted.rows[ids]
    assert len(ids) > 30
    assert len(stored.unique(dim=0)) > 20
    torch.testing.assert_close(trained.model.encode_texts("item", texts), stored, atol=1e-5, rtol=0)


def test_only_unseen_items_and_users_are_encoded(run, rows):
    model = load_model(run)
    assert np.isfinite(model.predict(rows)).all()
    assert model.cache.encoded == 0  # known ones cost no pass of the student
    model.predict(unseen(rows))
    assert 0 < model.cache.counters()["memory"]["item"]["vectors"] == model.cache.encoded <= len(rows)
    alone = model.predict(unseen(rows).assign(user_id="nobody", user_text="Liked: Sunny Day (Comedy)."))
    assert model.cache.counters()["memory"]["user"]["vectors"] == 1
    assert np.ptp(alone) > 0


@pytest.mark.parametrize(
    "options", [{}, {"cache_items": 0}, {"cache_items": 3}, {"redis_url": "redis://127.0.0.1:1"}]
)
def test_scores_do_not_depend_on_caches(options, run, rows):
    new = unseen(rows)
    expected = np.concatenate([load_model(run).predict(new[start : start + 1]) for start in range(0, len(new), 9)])
    model = load_model(run, **options)
    for _ in range(2):  # cold, then warm
        np.testing.assert_allclose(model.predict(new)[::9], expected, atol=1e-6, rtol=0)
    assert not np.allclose(model.predict(new.assign(item_text="Sci-Fi"))[::9], expected, atol=1e-4)


def test_an_export_holds_the_vectors_of_training(run, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "-o", "model", "--rows=50"]) == 0
    assert "texts of users and items that training never saw are not encoded" in capsys.readouterr().out
    np.testing.assert_allclose(load_model("model").predict(rows), load_model(run).predict(rows), atol=1e-5, rtol=0)
    unseen(rows)[:5].to_csv("rows.csv", index=False)
    assert main(["predict", "model", "rows.csv", "-o", "scores.csv"]) == 0
    assert "item_id: 5 rows with an unseen id were scored without its text" in capsys.readouterr().out


def test_new_items_without_the_teachers_answer_are_counted(student, rows, tmp_path, monkeypatch, capsys):
    """The texts of training have one, so the model would read texts of another kind."""
    monkeypatch.chdir(tmp_path)
    settings = {**SETTINGS, "student": str(student), "epochs": 1, "train_rows": 300, "train_texts": "none"}
    settings |= {"knowledge": ["tiny-items"], "read_answers": True, "distill_epochs": 0}
    run = run_recbole(model="MSD", dataset="tiny", config_dict=settings)
    trained = load_trained(Path(run["checkpoint"]))
    new = unseen(rows)[:6].assign(item_text=None)
    new.loc[:1, "item_text"] = "title is Silver Sea. genre is Drama. quiet drama; a family by the sea."
    new.to_csv("rows.csv", index=False)
    assert main(["predict", run["checkpoint"], "rows.csv", "-o", "scores.csv"]) == 0
    assert "item_id: 4 rows with an unseen id have a text without a teacher's answer" in capsys.readouterr().out
    # text and answer as docs/serving.md says are the text of training
    answer, item = read_answers(find_knowledge("tiny-items"), "item")["i1"], rows[rows["item_id"] == "i1"].iloc[0]
    text = f"title is {item['title']}. year is {item['year']}. genre is {item['genre']}."
    text += f" {'; '.join((*answer.explicit, *answer.implicit))}."
    known = trained.preprocessing.vocabulary["item_id"].tolist().index("i1")
    stored = trained.model.texts.levels["item"].adapted.rows[known]
    torch.testing.assert_close(trained.model.encode_texts("item", [text])[0], stored, atol=1e-5, rtol=0)

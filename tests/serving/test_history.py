"""Histories as columns of raw rows: scores are those of training, and what was left out is reported."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from recbole.data import create_dataset, data_preparation

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.preprocessing.schema import History
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.history import HistoryCounts, encode_history
from tests.serving.conftest import TrainedRun, assert_script_agrees

LENGTH = 4


class Served(NamedTuple):
    """A run that reads histories, and the raw rows of its test part with all of their earlier clicks."""

    run: TrainedRun
    rows: pd.DataFrame


@pytest.fixture(
    scope="module",
    params=[
        {"backbone": "DIN", "history": "all"},
        {"history_pooling": "attention"},
        {"history_pooling": "mean", "history": "all", "numerical_features": ["year"], "normalize_field": ["year"]},
        {"history_pooling": "similarity_histogram"},
    ],
    ids=["DIN", "attention", "mean", "histogram"],
)
def served(request, train, make_config):
    settings = {"history_length": LENGTH, **request.param}
    run = train("ClickPromptNoPLM", **settings)
    longer = make_config("ClickPromptNoPLM", **{**settings, "history_length": 50})
    test = data_preparation(longer, create_dataset(longer))[2]._dataset
    batch = test[torch.arange(len(test))]
    clicks = [
        [str(token) for token in test.id2token("item_id", items[:size])] if size else []
        for items, size in zip(batch["item_id_list"], batch["item_length"].tolist(), strict=True)
    ]
    rows = run.rows.assign(item_id_list=clicks)
    if settings.get("history") == "all":
        sizes = batch["item_length"].tolist()
        rows["label_list"] = [row[:n].tolist() for row, n in zip(batch["label_list"], sizes, strict=True)]
    assert max(map(len, clicks)) > LENGTH
    return Served(run, rows)


def test_scores_of_rows_with_their_clicks_are_those_of_training(served):
    model = load_model(served.run.checkpoint)
    np.testing.assert_allclose(model.predict(served.rows), served.run.scores, atol=1e-6, rtol=0)


def test_a_column_of_text_is_read_too(served):
    rows = served.rows.copy()
    for name in [column for column in rows if column.endswith("_list")]:
        rows[name] = ["|".join(map(str, values)) for values in rows[name]]
    rows.to_csv("rows.csv", index=False)
    assert main(["predict", str(served.run.checkpoint), "rows.csv", "-o", "scores.csv"]) == 0
    np.testing.assert_allclose(pd.read_csv("scores.csv")["score"], served.run.scores, atol=1e-6, rtol=0)


def test_without_the_column_histories_are_empty_and_this_is_reported_once(served, capsys):
    served.run.rows.to_csv("rows.csv", index=False)
    assert main(["predict", str(served.run.checkpoint), "rows.csv", "-o", "scores.csv"]) == 0
    assert capsys.readouterr().out.count("131 rows have no column of earlier clicks") == 1
    empty = served.rows.copy()
    for name in [column for column in empty if column.endswith("_list")]:
        empty[name] = [[] for _ in range(len(empty))]
    expected = load_model(served.run.checkpoint).predict(empty)
    np.testing.assert_allclose(pd.read_csv("scores.csv")["score"], expected, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_an_export_has_the_same_scores(served):
    assert main(["export", str(served.run.checkpoint), "--out=exported", "--rows=50"]) == 0
    scores = load_model(Path("exported")).predict(served.rows)
    np.testing.assert_allclose(scores, served.run.scores, atol=1e-5, rtol=0)
    rows = served.rows.copy()
    for name in [column for column in rows if column.endswith("_list")]:
        rows[name] = ["|".join(map(str, values)) for values in rows[name]]
    rows.loc[0, "item_id_list"] = "|".join(["new", "", *rows.loc[0, "item_id_list"].split("|")]).strip("|")
    if "label_list" in rows:
        rows.loc[0, "label_list"] = f"0|{rows.loc[0, 'label_list']}".strip("|")
    assert_script_agrees(Path("exported"), rows)
    assert_script_agrees(Path("exported"), served.run.rows)


def test_a_restored_run_has_the_same_scores(served):
    predictions = open_run(served.run.checkpoint).predictions("test")
    np.testing.assert_allclose(predictions["score"], served.run.scores, atol=1e-6, rtol=0)


def encode(columns, *, labels=None, length=3):
    counts = HistoryCounts()
    history = History(items="item_id_list", lengths="item_length", labels=labels, length=length)
    return encode_history(pa.table(columns), history, pd.Index(["a", "b", "c"]), counts, 1), counts


def test_the_last_known_clicks_count_and_unknown_ones_are_left_out():
    columns, counts = encode({"item_id_list": [["a", "b", "new", "c", "a"], [], None, ["new"]]})
    assert columns["item_id_list"].tolist() == [[2, 3, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert columns["item_length"].tolist() == [3, 0, 0, 0]
    assert counts == HistoryCounts(absent=0, unseen=2)
    assert "2 earlier clicks are on items that training never saw" in counts.messages()[0]


def test_labels_go_with_their_clicks():
    columns, _ = encode(
        {"item_id_list": ["new|b|c|a|a"], "label_list": ["1|0|1|1|0"]}, labels="label_list", length=3
    )
    assert columns["item_id_list"].tolist() == [[3, 1, 1]]
    assert columns["label_list"].tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("labels", ["1", "1|2", "1|0|1", ""])
def test_labels_that_do_not_fit_their_clicks_are_refused(labels):
    with pytest.raises(DataError, match="row 2 has 2 clicks"):
        encode({"item_id_list": ["a", "a|b"], "label_list": ["1", labels]}, labels="label_list")


def test_items_without_their_labels_are_refused(served):
    if "label_list" not in served.rows:
        pytest.skip("labels are not read")
    with pytest.raises(DataError, match="only one of the columns item_id_list and label_list"):
        load_model(served.run.checkpoint).predict(served.rows.drop(columns="label_list"))

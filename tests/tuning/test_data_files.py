"""Recorded runs on other files of a data set are refused, not mixed with new ones."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from recbole import quick_start

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.tuning.data_files import check_same_data, data_digest
from recbole_clickprompt.tuning.results import append_row, digest
from recbole_clickprompt.tuning.seeds import run_cells
from recbole_clickprompt.tuning.trials import Trials
from tests.conftest import ROOT

SETTINGS = {"model": "DNN", "dataset": "own", "data_path": "data"}
CELL = {"run": "plain", "seed": 2}


@pytest.fixture
def own():
    """A data set in ./data that a test can change."""
    folder = Path("data/own")
    folder.mkdir(parents=True)
    for part in ("inter", "user", "item"):
        shutil.copy(ROOT / "dataset_atomic" / "tiny" / f"tiny.{part}", folder / f"own.{part}")
    return folder


def test_a_digest_depends_on_the_content_of_files_and_of_the_property_file(own):
    first = data_digest(SETTINGS)
    assert data_digest(SETTINGS) == first
    file = own / "own.item"
    text = file.read_text()
    file.write_text(text.replace("i1\t", "i01\t", 1))
    assert data_digest(SETTINGS) != first
    file.write_text(text)
    assert data_digest(SETTINGS) == first
    properties = Path("props/dataset/own.yaml")
    properties.parent.mkdir(parents=True)
    properties.write_text("threshold: {rating: 4}\n")
    second = data_digest(SETTINGS)
    assert second != first
    properties.write_text("# a comment\nthreshold: {rating: 4}\n")
    assert data_digest(SETTINGS) == second


def test_a_digest_depends_on_the_users_own_property_files_and_files_of_knowledge(own):
    settings = {**SETTINGS, "backbone": "DNN"}
    first = data_digest(settings)
    for name in ("backbone/DNN.yaml", "model/DNN.yaml", "overall.yaml"):
        file = Path("props", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mlp_hidden_size: [8]\n")
        second = data_digest(settings)
        file.write_text("mlp_hidden_size: [9]\n")
        assert len({first, second, data_digest(settings)}) == 3
        file.unlink()
        assert data_digest(settings) == first
    Path("props/backbone/FM.yaml").write_text("embedding_size: 8\n")
    assert data_digest(settings) == first, "of another backbone"
    knowledge = Path("own.jsonl")
    knowledge.write_text("{}\n")
    named = {**settings, "knowledge": ["own.jsonl"]}
    third = data_digest(named)
    knowledge.write_text('{"item": 1}\n')
    assert len({first, third, data_digest(named)}) == 3
    assert data_digest({**settings, "knowledge": ["ml-100k-items"]}) == first, "shipped"


def test_a_missing_file_of_knowledge_ends_a_search_and_records_nothing(own):
    table, settings = Path("t.csv"), {**SETTINGS, "knowledge": ["none.jsonl"]}
    with pytest.raises(DataError, match="there is no knowledge file 'none.jsonl'"):
        Trials(settings, table, bigger=True).run({"learning_rate": 0.1})
    assert not table.exists()


@pytest.mark.parametrize("column", ["valid_score", "test_auc", "minutes"])
def test_a_trial_with_a_damaged_number_is_refused(own, column):
    table, values = Path("t.csv"), {"learning_rate": 0.1}
    numbers = {"valid_score": 0.6, "test_auc": 0.6, "minutes": 1.0, column: "abc"}
    append_row({**numbers, "error": None, "digest": digest(SETTINGS, values)}, table)
    with pytest.raises(DataError, match=f"t.csv, line 2: {column} must be a number.*, got 'abc'"):
        Trials(SETTINGS, table, bigger=True).run(values)


def test_a_data_set_that_is_not_there_yet_has_no_digest():
    assert data_digest({**SETTINGS, "dataset": "not there"}) is None


def test_rows_of_earlier_versions_are_not_refused_and_do_not_hide_others():
    check_same_data(pd.DataFrame({"run": ["plain"]}), "abc", table=Path("t.csv"), dataset="own")
    rows = pd.DataFrame({"data": [None, "abc"]})
    check_same_data(rows, "abc", table=Path("t.csv"), dataset="own")
    with pytest.raises(DataError, match="t.csv has runs on data set own as it was before"):
        check_same_data(rows, "def", table=Path("t.csv"), dataset="own")


def test_a_grid_refuses_runs_on_other_files(own):
    table = Path("t.csv")
    metrics = {"auc": 0.6, "logloss": 0.6}
    append_row({**CELL, **metrics, "digest": digest(CELL, SETTINGS), "data": "of yesterday"}, table)
    with pytest.raises(DataError, match=r"t.csv has runs on data set own as it was before its files"):
        run_cells([(CELL, SETTINGS)], table, command="grid")
    assert pd.read_csv(table)["data"].tolist() == ["of yesterday"]


@pytest.mark.parametrize("edited", [{"run": "pretrained"}, {"run": None}, {"seed": 3}, {"dropout_prob": 0.2}])
def test_a_grid_refuses_a_run_that_was_changed_in_its_table(own, edited):
    table, cell = Path("t.csv"), {**CELL, "dropout_prob": 0.1}
    row = {**cell, "auc": 0.6, "logloss": 0.6, "data": data_digest(SETTINGS), "digest": digest(cell, SETTINGS)}
    append_row({**row, **edited}, table)
    ((name, got),) = edited.items()
    shown = "an empty cell" if got is None else repr(got)
    with pytest.raises(DataError, match=f"t.csv: {name} must be {cell[name]!r} in the row .*, got {shown}"):
        run_cells([(cell, SETTINGS)], table, command="grid")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_grid_knows_its_runs_again_whatever_their_varied_settings_are(own, name):
    """A column of a csv file has one type: numbers become others, and what is empty has none."""
    table, rows = Path(name), []
    for value in (None, "", "007", "a, b", "[8]", "None"):
        cell = {
            **CELL,
            "text": value,
            "number": None if value is None else 1 if value else 0.5,
            "truth": value == "",
        }
        rows.append((cell, SETTINGS))
        metrics = {"auc": 0.6, "logloss": 0.6, "data": data_digest(SETTINGS)}
        append_row({**cell, **metrics, "digest": digest(cell, SETTINGS)}, table)
    assert len(run_cells(rows, table, command="grid")) == len(rows)


def test_a_grid_refuses_a_missing_file_of_knowledge_before_any_run(own, monkeypatch):
    monkeypatch.setattr(quick_start, "run_recbole", lambda **_: pytest.fail("trained"))
    cells = [(CELL, SETTINGS), ({"run": "last", "seed": 2}, {**SETTINGS, "knowledge": ["none.jsonl"]})]
    with pytest.raises(DataError, match="there is no knowledge file 'none.jsonl'"):
        run_cells(cells, Path("t.csv"), command="grid")


def test_a_trial_that_fails_because_of_its_files_is_not_recorded_and_is_tried_again(own):
    table, inter = Path("t.csv"), own / "own.inter"
    settings = {**SETTINGS, "model": "ClickPromptNoPLM", "train_stage": "finetune", "gpu_id": "", "epochs": 1}
    values = {"learning_rate": 0.001}
    Path("props/dataset").mkdir(parents=True)
    shutil.copy(ROOT / "props" / "dataset" / "tiny.yaml", "props/dataset/own.yaml")
    inter.rename("aside")
    search = Trials(settings, table, bigger=True)
    assert search.run(values) == float("inf")
    with pytest.raises(SettingError, match=r"failed, one with data/own/own\.inter does not .*, own.user$"):
        search.best(["learning_rate"])
    assert not table.exists()
    Path("aside").rename(inter)
    assert Trials(settings, table, bigger=True).run(values) < 0
    assert pd.read_csv(table)["error"].isna().tolist() == [True]


def test_a_search_refuses_trials_on_other_files(own):
    table, values = Path("t.csv"), {"learning_rate": 0.1}
    row = {"valid_score": 0.6, "error": None, "digest": digest(SETTINGS, values), "data": "of yesterday"}
    append_row(row, table)
    with pytest.raises(DataError, match=r"t.csv has runs on data set own as it was before its files"):
        Trials(SETTINGS, table, bigger=True).run(values)


def test_a_search_may_forget_failed_trials(own):
    table, wrong = Path("t.csv"), {"embedding_size": "wide"}
    search = Trials(SETTINGS, table, bigger=True, keep_failures=False)
    assert search.run(wrong) == float("inf")
    assert search.requested()["error"].notna().tolist() == [True]
    assert not table.exists()

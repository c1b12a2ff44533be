"""The folder of a run: what is read is what was written."""

import json
import math
import multiprocessing
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.history import append_epoch, read_epochs
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.evaluation.run_info import write_info
from recbole_clickprompt.evaluation.run_tables import write_counts, write_predictions

ROWS = pd.DataFrame(
    {
        "split": ["valid", "test", "test"],
        "user": ["u1", "u1", "Ü 2"],
        "item": ["i1", "i2", "i1"],
        "label": [1, 0, 1],
        "time": pd.array([978_300_761, None, 2**53 - 1], dtype="Int64"),
        "score": [0.1, 1 / 3, 0.9],
        "logit_ctr": np.array([-2.2, -0.7, 2.2], dtype=np.float32),
        "logit_plm": np.nan,
        "fusion_weight": np.nan,
    }
)
INFO = {
    "model": "ClickPromptNoPLM", "backbone": "DNN", "dataset": "tiny", "seed": 1, "command": ["recbole-cp", "run"],
    "settings": {"train_stage": "finetune", "pre_model_path": None},
    "checkpoint": "a.b.pth", "train_counts": "train_counts.parquet",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "saved" / "a.b"
    write_predictions(path, ROWS)
    write_counts(path, {"user": pd.Series({"u1": 3}), "item": pd.Series({"i1": 2, "i2": 1})})
    append_epoch(path / "history.jsonl", {"stage": "finetune", "epoch": 0, "train_loss": 0.5})
    write_info(path, INFO)
    return path


def test_predictions_come_back_as_they_were_written(folder):
    table = open_run(folder).predictions()
    assert table[["split", "user", "item", "label", "score"]].equals(
        ROWS[["split", "user", "item", "label", "score"]].astype({"label": "int8"})
    )
    assert table["time"].tolist() == [978_300_761, pd.NA, 2**53 - 1]
    assert table["logit_plm"].isna().all()
    assert table["logit_ctr"].dtype == np.float32


def test_one_split_is_counted_from_0(folder):
    assert open_run(folder).predictions("test")["user"].to_dict() == {0: "u1", 1: "Ü 2"}


def test_a_run_is_opened_by_its_checkpoint_or_its_folder(folder):
    by_file, by_folder = open_run(folder.parent / "a.b.pth"), open_run(str(folder))
    assert by_file == by_folder
    assert by_file.checkpoint == folder.parent / "a.b.pth"
    assert by_file.train_counts().values.tolist() == [["user", "u1", 3], ["item", "i1", 2], ["item", "i2", 1]]
    assert by_file.history().to_dict("records") == [{"stage": "finetune", "epoch": 0, "train_loss": 0.5}]


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"title": "ClickPrompt with PLM (DNN)"}, "ClickPrompt with PLM (DNN)"),
        ({}, "ClickPromptNoPLM (DNN)"),  # a run of an earlier version
    ],
)
def test_the_title_is_that_of_the_method(folder, changes, title):
    write_info(folder, {**INFO, **changes})
    assert open_run(folder).title == title


def test_an_unfinished_run_and_a_missing_one_are_refused(folder):
    (folder / "run.json").unlink()
    with pytest.raises(DataError, match="is not the folder of a finished run"):
        open_run(folder)
    with pytest.raises(DataError, match="does not exist; give the .pth file"):
        open_run("saved/nothing.pth")


@pytest.mark.parametrize("value", [None, [], {"item mean": 0.5}, {"item mean": {"test": {"auc": 0.5}}}])
def test_baselines_of_another_form_are_told(folder, value):
    write_info(folder, {**INFO, "baselines": value})
    with pytest.raises(DataError, match="run.json: baselines must be metrics by baseline and split"):
        open_run(folder)


def test_missing_predictions_and_damaged_files_are_told(folder):
    run = open_run(folder)
    (folder / "predictions.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="missing or damaged"):
        run.predictions()
    (folder / "predictions.parquet").unlink()
    with pytest.raises(DataError, match="save_predictions: True"):
        run.predictions()
    (folder / "run.json").write_text("{")
    with pytest.raises(DataError, match="run.json is damaged"):
        open_run(folder)


def test_an_epoch_trained_again_takes_the_place_of_those_from_it_on(tmp_path):
    file = tmp_path / "history.jsonl"
    for stage, epoch in (("pretrain", 5), ("finetune", 0), ("finetune", 1), ("finetune", 2), ("finetune", 1)):
        append_epoch(file, {"stage": stage, "epoch": epoch})
    assert [(line["stage"], line["epoch"]) for line in read_epochs(file)] == [
        ("pretrain", 5), ("finetune", 0), ("finetune", 1),
    ]  # fmt: skip


def append_epochs(stage):
    for epoch in range(100):
        append_epoch(Path("run/history.jsonl"), {"stage": stage, "epoch": epoch, "loss": 0.5})


def test_four_processes_that_write_one_history_lose_no_line():
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=append_epochs, args=[stage]) for stage in "abcd"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    lines = read_epochs(Path("run/history.jsonl"))
    for stage in "abcd":
        assert [line["epoch"] for line in lines if line["stage"] == stage] == list(range(100))
    assert [path.name for path in Path("run").iterdir()] == ["history.jsonl"]


WHOLE = (
    b'{"stage": "pretrain", "epoch": 0, "mlm_loss": 5.5}\n{"stage": "finetune", "epoch": 0, "train_loss": NaN}\n'
)
DAMAGES = {
    "half a last line": b'{"stage": "finetune", "epo',
    "zeros, as after a crash": b"\0" * 600,
    "binary garbage": b"\x93\xff\x00{\n",
    "another encoding": '{"stage": "finetune", "epoch": 1, "note": "ü"}'.encode("latin-1"),
    "no object": b"[1, 2]\n",
    "nothing but a number": b"7",
    "no stage": b'{"epoch": 1, "train_loss": 0.5}\n',
    "no epoch": b'{"stage": "finetune", "train_loss": 0.5}\n',
    "a stage that is no text": b'{"stage": 1, "epoch": 1}\n',
    "an epoch that is no number": b'{"stage": "finetune", "epoch": "one"}\n',
    "an epoch that is no whole number": b'{"stage": "finetune", "epoch": null}\n',
    "a figure that is no number": b'{"stage": "finetune", "epoch": 1, "train_loss": "low"}\n',
    "an epoch for the second time": b'{"stage": "finetune", "epoch": 0, "train_loss": NaN, "valid_auc": 0.5}\n',
    "brackets without end": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_history_is_read_as_far_as_it_can_be_and_kept_before_it_is_written_again(damage, caplog):
    file = Path("history.jsonl")
    file.write_bytes(WHOLE + damage)
    lines = read_epochs(file)
    assert [(line["stage"], line["epoch"]) for line in lines] == [("pretrain", 0), ("finetune", 0)]
    assert ("valid_auc" in lines[1]) == (b"valid_auc" in damage)  # of two lines of an epoch the last counts
    assert math.isnan(lines[1]["train_loss"])
    assert caplog.messages == ["history.jsonl: 1 of 3 lines is damaged or repeats an epoch, and is left out"]
    assert file.read_bytes() == WHOLE + damage  # who only reads changes nothing
    caplog.clear()
    append_epoch(file, {"stage": "finetune", "epoch": 1})
    assert [(line["stage"], line["epoch"]) for line in read_epochs(file)] == [
        ("pretrain", 0), ("finetune", 0), ("finetune", 1),
    ]  # fmt: skip
    assert caplog.messages == [
        "history.jsonl: 1 of 3 lines is damaged or repeats an epoch, and is left out; "
        "the damaged file is kept as history.jsonl.damaged"
    ]
    assert Path("history.jsonl.damaged").read_bytes() == WHOLE + damage


def test_a_second_damage_is_kept_beside_the_first():
    file = Path("history.jsonl")
    for damage in (b"first", b"second", b"third"):
        file.write_bytes(damage)
        append_epoch(file, {"stage": "finetune", "epoch": 0})
    kept = [Path(f"history.jsonl.damaged{number}").read_bytes() for number in ("", "-2", "-3")]
    assert kept == [b"first", b"second", b"third"]


def test_nothing_but_damage_is_an_empty_history(folder, caplog):
    (folder / "history.jsonl").write_bytes(b"\xff\xfe\n\nno line\n")
    assert open_run(folder).history().empty
    assert "2 of 2 lines are damaged" in caplog.text


@pytest.mark.parametrize("name", ["../other.pth", "/etc/passwd", "", None, ["run.pth"]])
@pytest.mark.parametrize("key", ["checkpoint", "train_counts"])
def test_a_run_folder_names_files_of_its_own_alone(key, name, trained_runs, tmp_path):
    shutil.copytree(trained_runs["plain"].with_suffix(""), tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**info, key: name}))
    with pytest.raises(DataError, match=f"run.json: {key} must be the name of a file of this run, without a path"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("key", ["model", "dataset", "backbone", "seed", "settings", "command"])
@pytest.mark.parametrize("value", [None, 1.5, [1], True])
def test_a_key_of_run_json_that_is_of_another_kind_or_missing_is_told(folder, key, value):
    write_info(folder, {**INFO, key: value})
    with pytest.raises(
        DataError, match=rf"run.json: {key} must be an? .*, got {re.escape(repr(value))};"
    ) as error:
        open_run(folder)
    assert "\n" not in str(error.value)
    write_info(folder, {name: INFO[name] for name in INFO if name != key})
    with pytest.raises(DataError, match=f"run.json: {key} must be .*, got nothing;"):
        open_run(folder)


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("split", ["valid", "test", "x"], "row 3: split must be valid or test, got 'x'"),
        ("user", ["a", None, "b"], "row 2: user must be a text, got None"),
        ("label", [1, 0, 2], "row 3: label must be 0 or 1, got 2"),
        ("label", [1, None, 0], "row 2: label must be 0 or 1, got <NA>"),
        ("label", ["1", "0", "1"], "column label must be of type int8, got string"),
        ("score", [0.5, math.nan, 0.5], "row 2: score must be a number from 0 to 1, got nan"),
        ("score", [0.5, 0.5, 1.5], "row 3: score must be a number from 0 to 1, got 1.5"),
        ("score", ["a", "b", "c"], "column score must be of type float64, got string"),
        ("user", [1, 2, 3], "column user must be of type string, got int64"),
        ("logit_ctr", [[1.0]] * 3, "column logit_ctr must be of type float32, got list"),
        ("time", ["a", "b", "c"], "column time must be of type int64, got string"),
    ],
)
def test_predictions_that_none_can_be_are_told(folder, column, values, told):
    file = folder / "predictions.parquet"
    table = pq.ParquetFile(file).read()
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, pa.array(values)), file)
    with pytest.raises(DataError, match=rf"predictions.parquet.*{told}"):
        open_run(folder).predictions()


def test_a_lacking_column_is_told(folder):
    ROWS.drop(columns="score").to_parquet(folder / "predictions.parquet")
    with pytest.raises(DataError, match="column score must be of type float64, got no such column"):
        open_run(folder).predictions()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"kind": "shop"}, "row 2: kind must be user or item, got 'shop'"),
        ({"token": None}, "row 2: token must be a text, got None"),
        ({"rows": None}, "row 2: rows must be a number above 0, got <NA>"),
        ({"rows": -1}, "row 2: rows must be a number above 0, got -1"),
        ({"token": "i1"}, "row 2: token must be unique within its kind, got 'i1'"),
    ],
)
def test_counts_that_none_can_be_are_told(folder, row, told):
    first = {"kind": "item", "token": "i1", "rows": 2}
    pq.write_table(pa.Table.from_pylist([first, {**first, "token": "i2", **row}]), folder / "train_counts.parquet")
    with pytest.raises(DataError, match=f"train_counts.parquet, {told}"):
        open_run(folder).train_counts()


def test_counts_of_texts_are_told(folder):
    rows = [{"kind": "item", "token": "i1", "rows": "two"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train_counts.parquet")
    with pytest.raises(DataError, match="train_counts.parquet: column rows must be of type int64, got string"):
        open_run(folder).train_counts()


@pytest.mark.parametrize("figure", ["1" + "0" * 400, "true", '"a"', "[1]"])
def test_a_line_of_the_history_without_figures_is_left_out(folder, figure, caplog):
    with (folder / "history.jsonl").open("a") as stream:
        stream.write(f'{{"stage": "finetune", "epoch": 1, "train_loss": {figure}}}\n')
    assert open_run(folder).history()["epoch"].tolist() == [0]
    assert "1 of 2 lines is damaged" in caplog.text


def test_an_infinite_figure_of_the_history_is_told_and_null_is_missing(folder):
    (folder / "history.jsonl").write_text('{"stage": "finetune", "epoch": 0, "train_loss": null}\n')
    assert open_run(folder).history()["train_loss"].isna().all()
    (folder / "history.jsonl").write_text('{"stage": "finetune", "epoch": 0, "train_loss": 1e999}\n')
    with pytest.raises(
        DataError, match="history.jsonl, row 1: train_loss must be a finite number or null, got inf"
    ):
        open_run(folder).history()

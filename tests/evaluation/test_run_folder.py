"""The folder of a run: what is read is what was written."""

import numpy as np
import pandas as pd
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.run_folder import (
    append_epoch,
    open_run,
    read_epochs,
    write_counts,
    write_info,
    write_predictions,
)

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
    "model": "ClickPromptNoPLM", "backbone": "DNN",
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
        ({}, "DNN"),
        ({"settings": {"train_stage": "finetune", "pre_model_path": "x"}}, "ClickPrompt without PLM (DNN)"),
        ({"settings": {"train_stage": "all"}}, "ClickPrompt without PLM (DNN)"),
        ({"model": "ClickPrompt"}, "ClickPrompt with PLM (DNN)"),
    ],
)
def test_a_title_says_plain_backbone_with_or_without_plm(folder, changes, title):
    write_info(folder, {**INFO, **changes})
    assert open_run(folder).title == title


def test_an_unfinished_run_and_a_missing_one_are_refused(folder):
    (folder / "run.json").unlink()
    with pytest.raises(DataError, match="is no folder of a finished run"):
        open_run(folder)
    with pytest.raises(DataError, match="does not exist; give the .pth file"):
        open_run("saved/nothing.pth")


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

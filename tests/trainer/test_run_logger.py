"""The folder that a run leaves behind, on ``tiny``."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_model, get_trainer
from sklearn.metrics import log_loss, roc_auc_score

from recbole_clickprompt.evaluation.history import read_epochs
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.trainer.run_logger import RunLogger, log_stage_epoch

PLAIN = {"backbone": "DNN", "train_stage": "finetune"}


def trained(small, model, **settings):
    result = run_recbole(model=model, dataset="tiny", config_dict={**small, **settings})
    (checkpoint,) = Path("saved").glob("*.pth")
    return result, open_run(checkpoint)


def atomic_rows(small):
    table = pd.read_csv(Path(small["data_path"]) / "tiny" / "tiny.inter", sep="\t", dtype=str)
    table.columns = [name.split(":")[0] for name in table.columns]
    return table


@pytest.mark.parametrize("name", ["with", "without", "plain"])
def test_predictions_are_those_of_the_best_epoch(trained_runs, name):
    run = open_run(trained_runs[name])
    tested, best = run.info["test_result"], run.info["best_valid_score"]
    assert best == run.history()["valid_auc"].max()
    for split, expected in (("valid", {"auc": best}), ("test", tested)):
        rows = run.predictions(split)
        assert roc_auc_score(rows["label"], rows["score"]) == pytest.approx(expected["auc"], abs=1e-6)
        logit = rows["logit_ctr"]
        if name == "with":
            logit = rows["fusion_weight"] * logit + (1 - rows["fusion_weight"]) * rows["logit_plm"]
        assert torch.sigmoid(torch.tensor(logit)).numpy() == pytest.approx(rows["score"], abs=1e-6)
    assert log_loss(rows["label"], rows["score"]) == pytest.approx(tested["logloss"], abs=1e-6)
    assert ("logit_plm" in run.predictions()) == (name == "with")


def test_the_kept_result_is_the_one_that_recbole_gives(small):
    result, run = trained(small, "ClickPromptNoPLM", **PLAIN, epochs=1)
    assert run.info["test_result"] == dict(result["test_result"])
    assert run.info["best_valid_score"] == result["best_valid_score"]


def test_rows_are_the_data_sets_with_their_exact_tokens_labels_and_times(small):
    _, run = trained(small, "ClickPromptNoPLM", **PLAIN, epochs=1)
    rows = run.predictions()
    _, _, _, train, valid, test = load_data_and_model(str(run.checkpoint))
    assert [len(valid._dataset), len(test._dataset)] == rows["split"].value_counts()[["valid", "test"]].tolist()
    file = atomic_rows(small)
    file = file[file["rating"] != "3"].assign(
        label=lambda f: (f["rating"].astype(float) >= 4).astype("int8"),
        time=lambda f: f["timestamp"].astype("int64"),
    )
    last = file.sort_values("time", kind="stable").iloc[len(train._dataset) :]
    assert rows["time"].tolist() == last["time"].tolist()
    for ours, theirs in (("user", "user_id"), ("item", "item_id"), ("label", "label")):
        assert rows[ours].tolist() == last[theirs].tolist()
    counts = run.train_counts().set_index(["kind", "token"])["rows"]
    first = file.sort_values("time", kind="stable").iloc[: len(train._dataset)]
    assert counts["user"].to_dict() == first["user_id"].value_counts().to_dict()
    assert counts["item"].to_dict() == first["item_id"].value_counts().to_dict()


def test_times_follow_their_rows_where_these_are_shuffled(small):
    shuffled = {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"}
    _, run = trained(small, "ClickPromptNoPLM", **PLAIN, epochs=1, eval_args=shuffled)
    rows = run.predictions()
    assert not rows["time"].is_monotonic_increasing
    file = atomic_rows(small)
    known = set(zip(file["user_id"], file["item_id"], file["timestamp"].astype("int64"), strict=True))
    assert set(zip(rows["user"], rows["item"], rows["time"], strict=True)) <= known


def test_history_has_both_stages_also_where_pretraining_was_reused(trained_runs):
    histories = [open_run(trained_runs[name]).history() for name in ("with", "without")]
    for history in histories:
        assert history["stage"].tolist() == ["pretrain", "finetune", "finetune"]
        assert history["epoch"].tolist() == [0, 0, 1]
        finetune = history[history["stage"] == "finetune"]
        assert finetune[["train_loss", "valid_auc", "valid_logloss"]].notna().all(axis=None)
    figures = ["mlm_loss", "mlm_accuracy"]
    assert histories[0].loc[0, figures].equals(histories[1].loc[0, figures])
    (beside,) = trained_runs["with"].parent.glob("*.history.jsonl")
    assert json.loads(beside.read_text())["mlm_loss"] == histories[0].loc[0, "mlm_loss"]
    assert set(open_run(trained_runs["plain"]).history()["stage"]) == {"finetune"}


def test_a_plain_run_says_so_and_how_it_was_made(small, monkeypatch):
    command = ["/bin/python", "/bin/recbole-cp", "run", "--model=DNN"]
    monkeypatch.setattr("sys.orig_argv", command)
    _, run = trained(small, "ClickPromptNoPLM", **PLAIN, epochs=1)
    assert run.title == "DNN"
    assert run.info["command"] == ["recbole-cp", "run", "--model=DNN"]
    assert run.info["settings"]["embedding_size"] == 8
    assert run.info["settings"]["eval_args"]["order"] == "TO"
    assert run.info["seed"] == 2020


def test_save_predictions_leaves_only_that_table_out(small):
    _, run = trained(small, "ClickPromptNoPLM", **PLAIN, epochs=1, save_predictions=False)
    assert {p.name for p in run.folder.iterdir()} == {"history.jsonl", "run.json", "train_counts.parquet"}


def test_a_run_that_is_not_saved_writes_nothing(make_config, make_data):
    config = make_config("ClickPromptNoPLM", **PLAIN, epochs=1)
    data = make_data(config)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(
        config, get_model(config["model"])(config, data[0]._dataset)
    )
    trainer.fit(data[0], data[1], verbose=False, saved=False)
    trainer.evaluate(data[2], load_best_model=False)
    assert list(Path("saved").iterdir()) == []


DAMAGED = b'{"stage": "pretrain", "epoch": 0, "mlm_loss": 5.5}\n{"stage": "pretr\xff'


def test_a_damaged_history_of_the_pretraining_leaves_the_run_going(caplog):
    """A reused pretraining's is read and stays; one that is written again is kept before."""
    config = {"local_rank": None, "offset": None}
    pretrained = Path("saved/p.safetensors")
    beside = Path("saved/p.history.jsonl")
    beside.parent.mkdir()
    beside.write_bytes(DAMAGED)
    record = RunLogger(config, "saved/run.pth", None, None, None, all_rows=None)
    record.begin(pretrained)
    record.epoch(0, 0.5)
    lines = read_epochs(Path("saved/run/history.jsonl"))
    assert [(line["stage"], line["epoch"]) for line in lines] == [("pretrain", 0), ("finetune", 0)]
    assert beside.read_bytes() == DAMAGED
    log_stage_epoch(config, pretrained, 1, {"mlm_loss": 4.5}, stage="pretrain")
    assert [line["mlm_loss"] for line in read_epochs(beside)] == [5.5, 4.5]
    assert Path("saved/p.history.jsonl.damaged").read_bytes() == DAMAGED
    told = "saved/p.history.jsonl: 1 of 2 lines is damaged or repeats an epoch, and is left out"
    assert caplog.messages == [told, f"{told}; the damaged file is kept as p.history.jsonl.damaged"]


def test_a_damaged_history_of_a_run_that_goes_on_is_kept(caplog):
    folder = Path("saved/run")
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_bytes(DAMAGED)
    RunLogger({"local_rank": None, "offset": None}, "saved/run.pth", None, None, None, all_rows=None).begin(None)
    assert (folder / "history.jsonl").read_bytes() == b""
    assert (folder / "history.jsonl.damaged").read_bytes() == DAMAGED
    assert len(caplog.messages) == 1

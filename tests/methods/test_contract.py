"""A method of under 80 lines, registered by a user, works everywhere by its name."""

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from recbole.quick_start import run_recbole

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.registry import find_method, method_names, register_method, resolve_name
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.trainer.whole_run import in_child

from . import matrix_factorization

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "data_path": str(ROOT / "dataset_atomic"), "gpu_id": "", "show_progress": False, "embedding_size": 4,
    "epochs": 3, "train_batch_size": 64, "pretrain_epochs": 2, "pretrain_batch_size": 64, "learning_rate": 0.01,
}  # fmt: skip
FLAGS = [f"--{key}={json.dumps(value)}" for key, value in SETTINGS.items()]


def runs():
    return sorted(Path("saved").glob("Factors-*.pth"), key=lambda path: path.stat().st_mtime)


def test_it_is_trained_by_name_through_recbole_and_the_command_line_and_its_stage_is_reused():
    result = run_recbole(model="Factors", dataset="tiny", config_dict=dict(SETTINGS))
    (stage,) = Path("saved").glob("tiny-popularity-*.safetensors")
    before = stage.stat().st_mtime_ns
    assert main(["run", "--model=Factors", "--dataset=tiny", *FLAGS]) == 0
    assert stage.stat().st_mtime_ns == before
    first, second = runs()
    again = open_run(second)
    assert again.info["test_result"] == dict(result["test_result"])
    assert again.info["title"] == "Factors"
    assert list(again.history()["stage"].unique()) == ["popularity", "finetune"]
    assert "logit" in again.predictions()
    weights = torch.load(first)["state_dict"]
    assert all(torch.equal(weight, weights[name]) for name, weight in torch.load(second)["state_dict"].items())


def test_its_stage_can_be_run_alone():
    alone = {**SETTINGS, "train_stage": "popularity", "valid_metric": "LogLoss"}
    result = run_recbole(model="Factors", dataset="tiny", config_dict=alone)
    assert result["best_valid_score"] == pytest.approx(result["best_valid_result"]["popularity_loss"])
    assert runs() == []


def test_grid_and_tune_take_it(capsys):
    Path("grid.yaml").write_text(
        yaml.safe_dump({"settings": {**SETTINGS, "dataset": "tiny"}, "runs": {"mf": {"model": "Factors"}}})
    )
    assert main(["grid", "grid.yaml"]) == 0
    assert "| mf |" in capsys.readouterr().out
    shared = {name: value for name, value in SETTINGS.items() if name != "learning_rate"}
    space = {"learning_rate": "choice [0.01, 0.1]"}
    Path("tune.yaml").write_text(
        yaml.safe_dump({"settings": {**shared, "model": "Factors", "dataset": "tiny"}, "space": space})
    )
    assert main(["tune", "tune.yaml"]) == 0
    assert "learning_rate: 0" in capsys.readouterr().out


def test_predict_and_report_take_its_runs(capsys):
    run_recbole(model="Factors", dataset="tiny", config_dict=dict(SETTINGS))
    (run,) = runs()
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": ["phone", "phone"]})
    rows.to_csv("rows.csv", index=False)
    assert main(["predict", str(run), "rows.csv", "--output=scores.csv"]) == 0
    scores = pd.read_csv("scores.csv")["score"].to_numpy()
    assert scores == pytest.approx(load_model(run).predict(rows))
    assert ((scores > 0) & (scores < 1)).all()
    assert main(["report", str(run), "--samples=10", "--out=report.html"]) == 0
    page = Path("report.html").read_text()
    assert "Popularity: popularity loss" in page
    assert main(["attention", str(run)]) == 2
    assert "attention needs a run whose model reads prompts, and Factors reads none" in capsys.readouterr().err


def test_a_killed_run_is_resumed_to_the_same_weights(monkeypatch):
    run_recbole(model="Factors", dataset="tiny", config_dict=dict(SETTINGS))
    (whole,) = runs()
    killed = {**SETTINGS, "checkpoint_dir": "killed", "checkpoint_minutes": 1e-9}
    train_batch = TrainingStage.train_batch

    def deadly(self, batch):
        if self.name == "finetune" and self.scheduler.last_epoch == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_batch(self, batch)

    def run(**more):
        run_recbole(model="Factors", dataset="tiny", config_dict={**killed, **more})

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "train_batch", deadly)
        assert in_child(run, Path("answer")) == -signal.SIGKILL
    assert in_child(lambda: run(resume="auto"), Path("answer")) == 0
    (resumed,) = sorted(Path("killed").glob("Factors-*.pth"), key=lambda path: path.stat().st_mtime)[-1:]
    weights = torch.load(whole)["state_dict"]
    assert all(torch.equal(weight, weights[name]) for name, weight in torch.load(resumed)["state_dict"].items())


def test_names_are_unique_and_unknown_ones_are_named():
    assert "Factors" in method_names()
    assert resolve_name("DNN") == ("ClickPromptNoPLM", {"backbone": "DNN", "train_stage": "finetune"})
    with pytest.raises(SettingError, match="there is no method 'Factor'; known are .*; did you mean Factors?"):
        find_method("Factor")

    class Other(Method):
        name = "ClickPrompt"

    with pytest.raises(SettingError, match="the name ClickPrompt is already used by the method ClickPrompt"):
        register_method(Other())


def test_the_method_is_short():
    assert len(Path(matrix_factorization.__file__).read_text().splitlines()) < 80

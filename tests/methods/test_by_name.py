"""Each method works by its name in run, grid, tune, predict and report, and a killed run is resumed exactly."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from recbole.quick_start import run_recbole

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.conftest import slow_but
from tests.methods.p5.t5 import save_random_t5
from tests.methods.small_runs import OWN, SETTINGS
from tests.trainer.whole_run import in_child

METHODS = [
    "CTRBERT", "CTRL", "FLIP", "P5", "KAR", "QARMLike", "LLaCTR", "SuKDLike", "NumBERTLike", "BERT4CTRLike",
    "CharMatchLike", "PRINTRepaired",
]  # fmt: skip
STAGES = {
    **{model: ["finetune"] for model in METHODS},
    "CTRL": ["contrast", "finetune"],
    "FLIP": ["pretrain", "finetune"],
    "LLaCTR": ["fields", "finetune"],
    "SuKDLike": ["teacher", "finetune"],
    "BERT4CTRLike": ["frozen_plm", "finetune"],
}


@pytest.fixture
def settings(tiny_bert):
    save_random_t5(Path("random-t5"))
    return {**SETTINGS, "plm": str(tiny_bert)}


@pytest.mark.parametrize("model", METHODS)
def test_run_predict_and_report_take_it(method_run, model, capsys):
    run = method_run(model)
    assert run.name.startswith(f"{model}-")
    folder = open_run(run)
    assert list(folder.history()["stage"].unique()) == STAGES[model]
    assert folder.info["title"].startswith(model)
    table = folder.predictions("test")
    rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"}).assign(device="phone")
    new = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["new", "i2"], "device": ["phone", "phone"]})
    new["title"] = "Grim Tale"
    pd.concat([rows, new]).to_csv("rows.csv", index=False)
    assert main(["predict", str(run), "rows.csv", "--output=scores.csv"]) == 0
    scores = pd.read_csv("scores.csv")["score"].to_numpy()
    assert scores == pytest.approx(load_model(run).predict(pd.concat([rows, new])))
    assert ((scores > 0) & (scores < 1)).all()
    assert main(["report", str(run), "--samples=10", "--out=report.html"]) == 0
    assert model in Path("report.html").read_text()
    assert main(["attention", str(run)]) == 2
    message = f"attention needs a run whose model reads prompts, and {folder.info['title']} reads none"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("model", slow_but(["CTRL", "KAR"], METHODS))
def test_grid_and_tune_take_it(settings, model, capsys):
    given = {**settings, **OWN[model], "dataset": "tiny"}
    Path("grid.yaml").write_text(yaml.safe_dump({"settings": given, "runs": {"ours": {"model": model}}}))
    assert main(["grid", "grid.yaml"]) == 0
    assert "| ours |" in capsys.readouterr().out
    space = {"learning_rate": "choice [0.01]"}
    Path("tune.yaml").write_text(yaml.safe_dump({"settings": {**given, "model": model}, "space": space}))
    assert main(["tune", "tune.yaml"]) == 0
    assert "learning_rate: 0.01" in capsys.readouterr().out


@pytest.mark.parametrize("model", slow_but(["CTRL", "KAR"], METHODS))
def test_a_run_killed_in_its_first_stage_is_resumed_to_the_same_weights(settings, model, monkeypatch):
    stage, given = STAGES[model][0], {**settings, **OWN[model]}
    run_recbole(model=model, dataset="tiny", config_dict=given)
    (whole,) = Path("saved").glob(f"{model}-*.pth")
    killed = {**given, "checkpoint_dir": "killed", "checkpoint_minutes": 1e-9}
    train_batch = TrainingStage.train_batch

    def deadly(self, batch):
        if self.name == stage and self.scheduler.last_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_batch(self, batch)

    def run(**more):
        run_recbole(model=model, dataset="tiny", config_dict={**killed, **more})

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "train_batch", deadly)
        assert in_child(run, Path("answer")) == -signal.SIGKILL
    assert in_child(lambda: run(resume="auto"), Path("answer")) == 0
    (resumed,) = sorted(Path("killed").glob(f"{model}-*.pth"), key=lambda path: path.stat().st_mtime)[-1:]
    weights, again = (torch.load(path)["state_dict"] for path in (whole, resumed))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())

"""Trials of ClickPrompt under Ray Tune, each in a process of its own."""

import math
from pathlib import Path

import pytest

from recbole_clickprompt.host.tuning import objective_function
from tests.conftest import SHORT


@pytest.mark.slow
def test_ray_runs_trials_side_by_side_that_share_pretraining_and_one_may_fail(small, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    tune = pytest.importorskip("ray.tune")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    # Ray runs each trial in a folder of its own: what they share is named in full
    settings = {**small, **SHORT, "model": "ClickPrompt", "dataset": "tiny", "epochs": 1, "backbone": "DNN"}
    settings |= {"plm_num_layers": 1, "checkpoint_dir": str(tmp_path / "saved"), "state": "error"}
    try:
        found = tune.run(
            objective_function,
            config={**settings, "learning_rate": tune.grid_search([1e-4, 1e-2, -1.0])},
            metric="valid_auc",
            mode="max",
            storage_path=str(tmp_path / "ray"),
            resources_per_trial={"cpu": 1},
            raise_on_failed_trial=False,
            verbose=0,
        )
    finally:
        ray.shutdown()
    done = {trial.config["learning_rate"]: trial.last_result for trial in found.trials if trial.status != "ERROR"}
    assert sorted(done) == [1e-4, 1e-2]
    (failed,) = [trial for trial in found.trials if trial.status == "ERROR"]
    assert "learning_rate must be a number above 0, got -1.0" in Path(failed.error_file).read_text()
    assert all(math.isfinite(result[name]) for result in done.values() for name in ("auc", "valid_logloss"))
    assert found.best_config["learning_rate"] == max(done, key=lambda rate: done[rate]["valid_auc"])
    assert len(list((tmp_path / "saved").glob("*-pretrained-*.safetensors"))) == 1
    assert len(list((tmp_path / "saved").glob("ClickPrompt-*.pth"))) == 2

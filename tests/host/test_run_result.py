"""`run_recbole` returns the paths of a run; RecBole's own models fail clearly or work as without this package."""

import pickle
from pathlib import Path

import pytest
from recbole.config import Config
from recbole.model.context_aware_recommender.dcnv2 import DCNV2
from recbole.utils import get_model

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.host.recbole_models import explained_weights_error
from tests.conftest import SHORT


@pytest.fixture
def run_recbole():
    from recbole.quick_start import run_recbole  # as patched

    return run_recbole


def test_the_result_has_the_paths_of_the_run_which_is_named_after_the_backbone(run_recbole, small):
    settings = {**small, **SHORT, "backbone": "DCNV2", "train_stage": "finetune", "epochs": 1}
    result = run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict=settings)
    assert Path(result["run_folder"]).name.startswith("DCNV2-")
    run = open_run(result["run_folder"])
    assert run.checkpoint == Path(result["checkpoint"])
    assert run.info["test_result"] == pytest.approx(dict(result["test_result"]))
    unsaved = run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict=settings, saved=False)
    assert "run_folder" not in unsaved


def test_a_run_with_pretraining_is_named_after_its_method(trained_runs):
    names = {name: path.name.partition("-")[0] for name, path in trained_runs.items()}
    assert names == {"with": "ClickPrompt", "without": "ClickPromptNoPLM", "plain": "DCNV2"}


@pytest.mark.parametrize("model", ["DCNV2", "DIN", "DNN"])
def test_a_model_of_recbole_on_a_data_set_that_it_cannot_read_is_refused(run_recbole, small, model):
    with pytest.raises(SettingError) as error:
        run_recbole(model=model, dataset="tiny", config_dict={"data_path": small["data_path"]})
    assert (
        f"use model='ClickPromptNoPLM' with config_dict={{'backbone': '{model}', 'train_stage': 'finetune'}}"
        in str(error.value)
    )


def test_models_of_recbole_are_those_of_recbole(small):
    assert get_model("DCNV2") is DCNV2
    described = {"load_col": {"inter": ["user_id", "item_id", "rating"]}, "threshold": {"rating": 4}}
    for dataset, settings in (("ml-100k", {}), ("tiny", described), ("mine", {})):
        config = Config("DCNV2", dataset, None, {"gpu_id": "", **settings})
        assert config["model"] == "DCNV2"
        assert config["show_progress"] is True  # RecBole's default


def test_the_error_of_torch_for_a_checkpoint_of_recbole_is_explained():
    message = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1.*'backbone': 'FM'"
    with pytest.raises(WeightsError, match=message), explained_weights_error("FM"):
        raise pickle.UnpicklingError("Weights only load failed")

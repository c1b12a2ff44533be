"""A checkpoint's settings may come from anybody: each is checked, and none says where files are written."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import load_data_and_model
from recbole.utils import EvaluatorType, InputType, ModelType, get_model, get_trainer

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError, WeightsError
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.host.saved_model import read_run
from recbole_clickprompt.methods.registry import method_names
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.checkpoint import read_model
from tests.conftest import slow_but

CPU = torch.device("cpu")


class Exploit:
    def __reduce__(self):
        return Path.touch, (Path("ran").absolute(),)


@pytest.fixture
def run(trained_runs, tmp_path):
    """A copy of a trained run, its checkpoint to be changed."""
    copy = tmp_path / "run.pth"
    shutil.copy(trained_runs["with"], copy)
    shutil.copytree(trained_runs["with"].with_suffix(""), tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**info, "checkpoint": "run.pth"}))
    return copy


def change(path, settings, **others):
    saved = torch.load(path)
    saved["config"] |= settings
    torch.save(saved | others, path)


def as_earlier_versions_wrote(path, config):
    """RecBole's object itself, with its enumerations and its YAML loader."""
    saved = torch.load(path)
    torch.save(saved | {"config": config}, path)


def test_a_checkpoint_holds_settings_as_plain_values(run):
    config = torch.load(run)["config"]
    assert type(config) is dict
    assert (config["model"], config["dataset"], config["embedding_size"]) == ("ClickPrompt", "tiny", 8)


def test_a_config_is_rebuilt_with_what_follows_from_its_settings(run):
    config, _ = read_run(run, method_names())
    assert isinstance(config, Config)
    assert config["MODEL_TYPE"] is ModelType.CONTEXT
    assert config["MODEL_INPUT_TYPE"] is InputType.POINTWISE
    assert config["eval_type"] is EvaluatorType.VALUE
    assert config["checkpoint_dir"] == str(run.parent)
    assert config["learning_rate"] == 0.001
    assert "learning_rate" in str(config)


def test_files_of_earlier_versions_load(run, make_config, tiny_bert):
    config = make_config("ClickPrompt")
    config.model_class = None
    as_earlier_versions_wrote(run, config)
    assert read_model(run)["config"]["embedding_size"] == 8
    rows = {"user_id": ["u1"], "item_id": ["i1"], "device": ["pc"]}
    assert 0 < load_model(run).predict(pd.DataFrame(rows))[0] < 1
    assert restore(run, device=CPU).config["eval_type"] is EvaluatorType.VALUE
    assert load_data_and_model(str(run))[0]["dataset"] == "tiny"


def test_settings_that_an_earlier_version_did_not_have_get_their_defaults(run):
    saved = torch.load(run)
    del saved["config"]["unseen_id_embeddings"], saved["config"]["save_predictions"]
    torch.save(saved, run)
    config, _ = read_run(run, method_names())
    assert (config["unseen_id_embeddings"], config["save_predictions"]) == ("zero", True)


@pytest.mark.parametrize("key", ["worker", "eval_args", "train_neg_sample_args", "field_separator"])
def test_settings_of_recbole_that_are_missing_get_its_defaults(key, run):
    whole, _ = read_run(run, method_names())
    saved = torch.load(run)
    del saved["config"][key]
    torch.save(saved, run)
    assert read_run(run, method_names())[0][key] == whole[key]
    assert len(restore(run, device=CPU).test_data._dataset) == 131


@pytest.mark.parametrize("value", [None, "x", {"a": 1}, [[1]]])
def test_what_follows_from_labeled_rows_is_not_read_from_a_file(value, run):
    change(run, {"valid_neg_sample_args": value, "train_neg_sample_args": value})
    assert len(restore(run, device=CPU).valid_data._dataset) == 131


HOSTILE = {
    "another model": {"model": "LR"},
    "a model of no known name": {"model": "../clickprompt"},
    "a model that is no name": {"model": ["ClickPrompt"]},
    "a data set to unpickle": {"dataset_save_path": "evil.pkl"},
    "loaders to unpickle": {"dataloaders_save_path": "evil.pkl"},
    "a data set to pickle": {"save_dataset": True},
    "loaders to pickle": {"save_dataloaders": True},
    "a data set elsewhere": {"dataset": "../../tiny"},
    "a part elsewhere": {"benchmark_filename": ["train", "valid", "../test"]},
    "a further file elsewhere": {"additional_feat_suffix": ["x/../../y"]},
    "a file elsewhere": {"load_col": {"inter": ["user_id"], "../x": ["a"]}},
    "a wrong type": {"embedding_size": "8"},
    "a wrong size": {"num_prompts": 0},
    "a text for a list": {"mlp_hidden_size": "16"},
    "a metric of no known name": {"metrics": ["Fortune"]},
    "no folder of data": {"data_path": 3},
    "no field of users": {"USER_ID_FIELD": None},
    "a tensor": {"dataset_save_path": torch.ones(2)},
    "bytes": {"valid_metric": b"AUC"},
    "a number beyond floats": {"learning_rate": 10**400},
    "a name of any length": {"data_path": "a" * 5000},
    "a backbone of any name": {"backbone": "1" * 500},
    "weights to preload": {"preload_weight": {"item_id": "x"}},
    "layers wider than the weights": {"mlp_hidden_size": [10**9]},
    "more layers than weights": {"mlp_hidden_size": [8] * 100_000},
    "keys that are no names": {"threshold": {1: 2}},
}


@pytest.fixture(scope="module", params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request, trained_runs, tmp_path_factory):
    """A checkpoint with a setting that cannot be."""
    copy = shutil.copy(trained_runs["with"], tmp_path_factory.mktemp("hostile"))
    change(copy, request.param)
    return copy


@pytest.mark.parametrize("command", slow_but(["predict"], ["predict", "export", "attention", "latency", "report"]))
def test_every_command_refuses_a_setting_that_cannot_be(hostile, command, run, capsys):
    Path("evil.pkl").write_bytes(pickle.dumps(Exploit()))
    shutil.copy(hostile, run)
    Path("rows.csv").write_text("user_id,item_id,device\nu1,i1,pc\n")
    more = {"predict": ["rows.csv", "-o=s.csv"], "export": ["--out=exported"], "report": ["--attention"]}
    assert main([command, str(run), *more.get(command, [])]) == 2
    assert "run.pth" in capsys.readouterr().err
    assert not Path("ran").exists()
    assert not Path("s.csv").exists()
    assert not Path("exported").exists()


@pytest.mark.parametrize("name", ["tiny-TextDataset.pth", "tiny-for-ClickPrompt-dataloader.pth"])
def test_pickles_next_to_a_checkpoint_are_refused(name, run):
    (run.parent / name).write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(DataError, match="would be unpickled"):
        restore(run, device=CPU)
    with pytest.raises(DataError, match="would be unpickled"):
        load_data_and_model(str(run))
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["tiny-Dataset.pth", "tiny-for-DNN-dataloader.pth"])
def test_pickles_next_to_a_checkpoint_of_recboles_trainer_are_refused(name, run):
    change(run, {"model": "DNN"})
    (run.parent / name).write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(DataError, match="would be unpickled"):
        load_data_and_model(str(run))
    assert not Path("ran").exists()


def test_a_data_set_that_is_gone_is_not_fetched_for_a_checkpoint(run, tmp_path):
    change(run, {"data_path": str(tmp_path / "new" / "ml-1m"), "dataset": "ml-1m"})
    with pytest.raises(DataError, match="ml-1m, the folder of the checkpoint's data set, does not exist"):
        restore(run, device=CPU)
    assert not (tmp_path / "new").exists()


def test_what_recbole_would_set_on_a_model_is_held_to_its_names(run):
    change(run, {}, other_parameter={"predict": 1})
    with pytest.raises(WeightsError, match="its other_parameter must contain nothing"):
        load_model(run)


@pytest.mark.parametrize("weights", [None, [], {"a": 1}, {1: torch.ones(1)}])
def test_weights_that_are_none_are_refused(weights, run):
    change(run, {}, state_dict=weights)
    with pytest.raises(WeightsError, match="it has no state_dict of named weights"):
        load_model(run)


def test_values_of_numpy_are_saved_as_plain_ones(make_config, make_data):
    config = make_config("ClickPromptNoPLM", train_stage="finetune")
    config["stopping_step"] = np.int64(3)
    data = make_data(config)
    model = get_model(config["model"])(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer._save_checkpoint(0, saved_model_file="saved/x.pth")
    assert read_model(Path("saved/x.pth"))["config"]["stopping_step"] == 3


def test_a_checkpoint_fetches_no_plm(run, monkeypatch):
    asked = []

    def snapshot_download(name, *, local_files_only=False, **_):
        asked.append((name, local_files_only))
        raise FileNotFoundError

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    change(run, {"plm": "evil/repo"})
    with pytest.raises(
        WeightsError, match="run.pth: language model 'evil/repo': neither a folder nor in the Hugging Face cache"
    ):
        read_run(run, method_names())
    assert asked == [("evil/repo", True)]


def test_a_plm_in_the_cache_is_read_without_asking_the_hub(run, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    change(run, {"plm": "some/repo"})
    assert read_run(run, method_names())[0]["plm"] == str(tmp_path)


@pytest.mark.parametrize("targets", ["(a+)+$", "(", ".*.*.*.*query"])
def test_a_checkpoint_brings_no_regular_expression(targets, run):
    change(run, {"plm_lora": {"target_modules": targets}})
    with pytest.raises(WeightsError, match=r"run.pth: the setting plm_lora .*a list of names"):
        read_run(run, method_names())


@pytest.mark.parametrize("targets", ["all-linear", ".*query", ["query", "value"]])
def test_names_in_plm_lora_are_read(targets, run):
    change(run, {"plm_lora": {"target_modules": targets}})
    assert read_run(run, method_names())[0]["plm_lora"] == {"target_modules": targets}


def test_a_seed_that_numpy_does_not_take_is_refused(run):
    change(run, {"seed": 2**32})
    with pytest.raises(WeightsError, match="the setting seed in it is 4294967296, expected an integer from 0 to"):
        read_run(run, method_names())


@pytest.mark.parametrize("widths", [[8192], [1024] * 60, [8] * 1000])
def test_a_model_far_larger_than_its_weights_is_not_built(widths, run):
    change(run, {"mlp_hidden_size": widths})
    with pytest.raises(
        WeightsError, match=r"the setting mlp_hidden_size in it is .* expected a size that fits the saved weights"
    ):
        read_run(run, method_names())

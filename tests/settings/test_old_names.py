"""Settings of earlier versions: renamed ones work with a notice, dropped ones name what replaces them."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from recbole.config import Config

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.host.saved_model import read_run
from recbole_clickprompt.methods.registry import method_names
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.settings.old_names import DROPPED, RENAMED
from recbole_clickprompt.settings.registry import settings_of

OLD = {
    "handover": "embeddings",
    "plm_joint_layers": 1,
    "plm_joint_masks": 3,
    "pretrain_vocabulary": "data",
    "rowwise_embeddings": 100,
    "save_minutes": 3,
    "text_embeddings": ["item_id"],
    "tower_loss_share": 0.5,
    "unseen_embeddings": "zero",
    "unsplit_fields": ["genre"],
    "value_words": {"gender": {"F": "woman"}},
}
NOTICES = [f"{old} is now {new}" for old, new in RENAMED.items()]


def notices(caplog):
    return [record.getMessage() for record in caplog.records if "is now" in record.getMessage()]


def assert_renamed(config):
    assert {new: config[new] for new in RENAMED.values()} == {RENAMED[old]: value for old, value in OLD.items()}
    assert not RENAMED.keys() & config.final_config_dict.keys()


def test_a_dict_of_settings_may_have_old_names(make_config, caplog):
    assert_renamed(make_config(**OLD))
    (line,) = notices(caplog)
    assert all(notice in line for notice in NOTICES)
    assert "\n" not in line


def test_a_config_file_may_have_old_names(small, caplog):
    Path("mine.yaml").write_text(yaml.safe_dump(OLD))
    assert_renamed(Config("ClickPrompt", "tiny", ["mine.yaml"], small))
    assert len(notices(caplog)) == 1


def test_a_command_line_may_have_old_names(make_config, caplog, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", *(f"--{name}={value}" for name, value in OLD.items())])
    assert_renamed(make_config())
    assert len(notices(caplog)) == 1


def test_a_property_file_may_have_old_names(make_config, caplog):
    Path("props/dataset").mkdir(parents=True)
    shipped = yaml.safe_load((Path(__file__).parents[2] / "props/dataset/tiny.yaml").read_text())
    settings = {name: value for name, value in shipped.items() if name not in RENAMED.values()} | OLD
    Path("props/dataset/tiny.yaml").write_text(yaml.safe_dump(settings))
    assert_renamed(make_config())
    (line,) = notices(caplog)
    assert line.startswith("props/dataset/tiny.yaml: ")


def test_codes_under_the_old_name_stay_as_they_are_written(make_config, small):
    for text in ("value_words: {gender: {NO: yes, 007: bond}}", "value_labels: {gender: {NO: yes, 007: bond}}"):
        Path("mine.yaml").write_text(text)
        config = Config("ClickPrompt", "tiny", ["mine.yaml"], small)
        assert config["value_labels"] == {"gender": {"NO": "yes", "007": "bond"}}
    assert make_config(value_words="{gender: {NO: yes}}")["value_labels"] == {"gender": {"NO": "yes"}}


@pytest.mark.parametrize("old", RENAMED)
def test_old_and_new_together_are_an_error(old, make_config):
    new = RENAMED[old]
    with pytest.raises(SettingError, match=f"{old} is the old name of {new}, and both are given; keep only {new}"):
        make_config(**{old: OLD[old], new: OLD[old]})


def test_old_and_new_in_two_places_are_an_error_too(small, monkeypatch):
    Path("mine.yaml").write_text("handover: all\n")
    monkeypatch.setattr("sys.argv", ["x", "--load_pretrained=embeddings"])
    with pytest.raises(SettingError, match="handover is the old name of load_pretrained, and both are given"):
        Config("ClickPrompt", "tiny", ["mine.yaml"], small)


def test_a_wrong_value_is_reported_under_the_new_name(make_config):
    with pytest.raises(SettingError, match="load_pretrained must be one of all, embeddings, got 'layers'"):
        make_config(handover="layers")


@pytest.mark.parametrize("name", DROPPED)
def test_a_dropped_setting_in_a_new_run_names_its_replacement(name, make_config, small, monkeypatch):
    message = f"{name} is no longer a setting; leave it out and use "
    with pytest.raises(SettingError, match=message):
        make_config(**{name: 1})
    Path("mine.yaml").write_text(f"{name}: 1\n")
    with pytest.raises(SettingError, match=message):
        Config("ClickPromptNoPLM", "tiny", ["mine.yaml"], small)
    Path("props/dataset").mkdir(parents=True)
    Path("props/dataset/mine.yaml").write_text(f"{name}: 1\n")
    with pytest.raises(SettingError, match=f"a property file under ./props: {message}"):
        make_config(dataset="mine")
    monkeypatch.setattr("sys.argv", ["x", f"--{name}=1"])
    with pytest.raises(SettingError, match=message):
        make_config()


def test_the_command_line_ends_in_one_line(small, capsys):
    run = ["run", "--model=DNN", "--dataset=tiny", f"--data_path={small['data_path']}"]
    assert main([*run, "--save_step=1"]) == 2
    assert "save_step is no longer a setting; leave it out and use checkpoint_minutes" in capsys.readouterr().err
    assert main([*run, "--handover=all", "--load_pretrained=all"]) == 2
    assert "handover is the old name of load_pretrained" in capsys.readouterr().err


def test_a_shared_file_that_still_has_the_methods_settings_is_reported(make_config, caplog):
    Path("props").mkdir()
    shipped = (Path(__file__).parents[2] / "props/overall.yaml").read_text()
    Path("props/overall.yaml").write_text(f"{shipped}num_prompts: 3\n")
    make_config()
    assert (
        "props/overall.yaml: num_prompts belong in model/ClickPrompt.yaml, which overrides this file"
        in caplog.text
    )


def grid_file(**parts):
    Path("g.yaml").write_text(yaml.safe_dump({"seeds": [1], **parts}, sort_keys=False))
    return "g.yaml"


@pytest.fixture
def configs(monkeypatch):
    """Settings of the runs that a grid starts, none of which trains."""
    started = []

    def run(config_dict):
        started.append(config_dict)
        return {"test_result": {"auc": 0.5, "logloss": 0.7}, "best_valid_score": 0.5}

    monkeypatch.setattr("recbole.quick_start.run_recbole", run)
    return started


def test_a_grid_may_have_old_names_in_all_its_parts(configs, caplog):
    Path("base.yaml").write_text(
        "settings: {unsplit_fields: [title]}\nbackbones: {DNN: {rowwise_embeddings: 9}}\n"
    )
    grid = grid_file(
        settings={"dataset": "tiny", "backbone": "DNN", "tower_loss_share": 0.5},
        runs={"a": {"handover": "embeddings"}, "b": None},
        vary={"plm_joint_layers": [1, 2]},
        base="base.yaml",
    )
    assert main(["grid", grid, "--unseen_embeddings=zero"]) == 0
    names = ["tower_loss_weight", "plm_interaction_layers", "whole_text_fields", "lazy_embedding_min_rows"]
    assert [[config[name] for name in names] for config in configs] == [
        [0.5, layers, ["title"], 9] for layers in (1, 1, 2, 2)
    ]
    assert [config.get("load_pretrained") for config in configs] == ["embeddings", None] * 2
    assert {config["unseen_id_embeddings"] for config in configs} == {"zero"}
    assert not any(RENAMED.keys() & config.keys() for config in configs)
    assert sorted(line.split(":")[0] for line in notices(caplog)) == ["base.yaml", "g.yaml"]


def test_a_grid_with_old_and_new_is_an_error(configs, capsys):
    grid = grid_file(settings={"dataset": "tiny", "handover": "all"}, runs={"a": {"load_pretrained": "all"}})
    assert main(["grid", grid]) == 2
    assert "g.yaml: handover is the old name of load_pretrained, and both are given" in capsys.readouterr().err
    assert configs == []


def test_a_grid_with_a_dropped_setting_is_an_error_before_any_run(configs, capsys):
    grid = grid_file(settings={"dataset": "tiny"}, runs={"a": None, "b": {"plm_frozen_epochs": 1}})
    assert main(["grid", grid]) == 2
    assert "g.yaml: plm_frozen_epochs is no longer a setting; leave it out and use" in capsys.readouterr().err
    assert configs == []


def test_a_run_of_a_grid_that_is_no_mapping_is_an_error(configs, capsys):
    assert main(["grid", grid_file(settings={"dataset": "tiny"}, runs={"a": "DNN"})]) == 2
    assert "g.yaml: runs.a must be a dict, got 'DNN'" in capsys.readouterr().err


def test_a_tuning_file_may_have_old_names(monkeypatch, capsys, caplog, small):
    drawn = []

    class Search:
        def __init__(self, trials, space, **_):
            drawn.append((trials._base, [draw.name for draw in space]))

        def run(self):
            raise SettingError("no trial here")

    monkeypatch.setattr("recbole_clickprompt.tuning.search.Search", Search)
    base = {"model": "ClickPrompt", "dataset": "tiny", "handover": "all", "data_path": small["data_path"]}
    space = {"tower_loss_share": "choice [0.0, 0.5]"}
    Path("t.yaml").write_text(yaml.safe_dump({"settings": base, "space": space}))
    assert main(["tune", "t.yaml"]) == 2
    ((settings, names),) = drawn
    assert settings["load_pretrained"] == "all"
    assert names == ["tower_loss_weight"]
    assert len(notices(caplog)) == 1
    assert main(["tune", "t.yaml", "--tower_loss_weight=0.1"]) == 2
    assert "tower_loss_share is the old name of tower_loss_weight, and both" in capsys.readouterr().err


def test_no_pretraining_is_finetuning_from_scratch(make_config):
    own = {"SuKDLike": {"distill_weight": 0.0}}  # without pretraining it has no teacher
    for model in method_names():
        stage = "finetune" if "pretrain_epochs" in settings_of(model) else "all"  # MSD distills all the same
        assert make_config(model, pretrain_epochs=0, **own.get(model, {}))["train_stage"] == stage
    assert make_config("ClickPromptNoPLM", dataset="unknown", pretrain_epochs=0)["text_fields"] is None
    assert make_config(pretrain_epochs=1)["train_stage"] == "all"


EARLIER = {
    "plm_layer_decay": 1.0,
    "plm_frozen_epochs": 0,
    "pretrain_mlm_epochs": None,
    "save_step": 0,
    "backbone_amp": False,
}


@pytest.fixture
def earlier_run(trained_runs, tmp_path):
    """A run as the version before this one saved it."""
    before = {new: old for old, new in RENAMED.items()}
    path, folder = tmp_path / "run.pth", tmp_path / "run"
    saved = torch.load(trained_runs["with"])
    saved["config"] = {before.get(name, name): value for name, value in saved["config"].items()} | EARLIER
    torch.save(saved, path)
    shutil.copytree(trained_runs["with"].with_suffix(""), folder)
    info = json.loads((folder / "run.json").read_text())
    info["settings"] = {before.get(name, name): value for name, value in info["settings"].items()} | EARLIER
    (folder / "run.json").write_text(json.dumps({**info, "checkpoint": "run.pth"}))
    return path


def test_a_saved_run_of_the_earlier_version_loads_and_predicts(earlier_run, trained_runs):
    config, _ = read_run(earlier_run, method_names())
    assert config["value_labels"]["gender"] == {"F": "female", "M": "male"}
    assert config["whole_text_fields"] == ["title"]
    assert not (RENAMED.keys() | DROPPED.keys()) & config.final_config_dict.keys()
    assert restore(earlier_run, device=torch.device("cpu")).config["load_pretrained"] == "all"
    rows = pd.DataFrame({"user_id": ["u1", "u2"], "item_id": ["i1", "i2"], "device": ["pc", "pc"]})
    expected = load_model(trained_runs["with"]).predict(rows)
    assert list(load_model(earlier_run).predict(rows)) == list(expected)


def test_a_saved_value_under_an_old_name_is_checked(earlier_run):
    saved = torch.load(earlier_run)
    saved["config"]["handover"] = "layers"
    torch.save(saved, earlier_run)
    with pytest.raises(
        ValueError, match="run.pth: the setting load_pretrained in it is 'layers', expected one of"
    ):
        read_run(earlier_run, method_names())


def test_a_report_shows_earlier_settings_next_to_todays(earlier_run, trained_runs):
    settings = open_run(earlier_run).info["settings"]
    today = open_run(trained_runs["with"]).info["settings"]
    assert {name: settings[name] for name in today} == today
    assert settings["plm_layer_decay"] == 1.0
    runs = [f"today={trained_runs['with']}", f"earlier={earlier_run}"]
    assert main(["report", *runs, "--out=report.html"]) == 0

"""Precedence of property files, and refusal of what no setting may be."""

from pathlib import Path

import pytest
import yaml
from recbole.config import Config

from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.backbones.representation_hooks import HOOKS
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.properties import load_properties, read_yaml
from recbole_clickprompt.settings.registry import declared

PROPS = Path(__file__).parents[2] / "props"
FILES = sorted(PROPS.rglob("*.yaml"))


def test_later_files_win_and_each_layer_is_found_by_name(tmp_path, make_config, monkeypatch):
    folder = tmp_path / "props"
    changes = {
        "overall.yaml": {"seed": 1, "warmup_ratio": 0.1, "micro_batch_size": 1},
        "model/ClickPrompt.yaml": {"warmup_ratio": 0.2, "epochs": 2},
        "backbone/DNN.yaml": {"epochs": 3, "embedding_size": 3},
        "dataset/tiny.yaml": {
            "backbone": "DNN", "embedding_size": 4, "learning_rate": 4.0, "weight_decay": 4.0, "eval_step": 4,
        },
    }  # fmt: skip
    for name, change in changes.items():
        settings = {**read_yaml(PROPS / name), **change}
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(settings))
    (tmp_path / "mine.yaml").write_text("learning_rate: 5.0\nweight_decay: 5.0\neval_step: 5\n")
    monkeypatch.setattr("sys.argv", ["x", "--eval_step=7"])
    config = Config("ClickPrompt", "tiny", ["mine.yaml"], {"weight_decay": 6.0, "eval_step": 6, "gpu_id": ""})
    assert [config[k] for k in ("micro_batch_size", "warmup_ratio", "epochs", "embedding_size")] == [1, 0.2, 3, 4]
    assert [config[k] for k in ("learning_rate", "weight_decay", "eval_step")] == [5.0, 6.0, 7]
    assert config["backbone"] == "DNN"


def test_the_users_backbone_brings_its_file(make_config):
    assert make_config(backbone="AutoInt")["attention_size"] == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"promt_len": 5}, "promt_len is not a setting of RecBole or of this package"),
        (
            {"num_promts": 5},
            "num_promts is not a setting of RecBole or of this package; did you mean num_prompts?",
        ),
        ({"learnign_rate": 0.1}, "did you mean learning_rate?"),
        ({"backbone": "DCNv2"}, "backbone must be one of .*, got 'DCNv2'; did you mean DCNV2?"),
        ({"backbone": "dcn"}, "backbone must be one of .*, got 'dcn'; did you mean DCN?"),
        ({"backbone": "DCNv3"}, "backbone must be one of .*, got 'DCNv3'; did you mean DCNV2?"),
        ({"num_prompts": "many"}, "num_prompts must be an integer, 1 or more, got 'many'"),
        ({"num_prompts": 0}, "num_prompts must be an integer, 1 or more, got 0"),
        ({"num_prompts": True}, "num_prompts must be an integer"),
        ({"learning_rate": "fast"}, "learning_rate must be a number above 0, got 'fast'"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number above 0, got nan"),
        ({"mask_ratio": 1.5}, "mask_ratio must be a number above 0 to below 1, got 1.5"),
        ({"plm_learning_rate": -1}, "plm_learning_rate must be a number from 0, got -1"),
        ({"train_stage": "finetuning"}, "train_stage must be one of all, pretrain, finetune"),
        (
            {"pretrain_objectives": "mlm"},
            "pretrain_objectives must be a list of one or more of mlm, replaced_item",
        ),
        ({"pretrain_objectives": []}, "pretrain_objectives must be a list of one or more"),
        ({"pretrain_objectives": ["clm"]}, "pretrain_objectives must be a list of one or more"),
        ({"pretrain_objectives": ["mlm", "mlm"]}, "pretrain_objectives must be a list .* each once"),
        (
            {"train_stage": "pretrain", "pretrain_epochs": 0},
            "train_stage: pretrain has nothing to train with pretrain_e",
        ),
        ({"text_fields": ["user_id"]}, "text_fields must be a mapping of one or more fields"),
        ({"text_fields": {}}, "text_fields must be a mapping of one or more fields"),
        ({"mlp_hidden_size": 256}, "mlp_hidden_size must be a list of one or more integers from 1, got 256"),
        ({"enable_scaler": True}, "enable_scaler must be False"),
        ({"plm_num_layers": 0}, "plm_num_layers must be an integer, 1 or more, or null"),
        ({"lazy_embedding_min_rows": 0}, "lazy_embedding_min_rows must be an integer, 1 or more, or null"),
        ({"lazy_embedding_min_rows": True}, "lazy_embedding_min_rows must be an integer, 1 or more, or null"),
        ({"double_tower": False}, "double_tower must be True"),
        ({"fields": {1: ["user_id"]}}, "fields must be a mapping of the numbers 0, 1, ... to lists"),
        ({"seed": 1.5}, "seed must be an integer from 0 to 4294967295, got 1.5"),
        ({"benchmark_filename": []}, "benchmark_filename must be a list of the file suffixes of the three parts"),
        (
            {"benchmark_filename": ["train", "test"]},
            "benchmark_filename must be a list of the file suffixes of the three parts",
        ),
        ({"normalize_field": "age"}, "normalize_field must be a list of fields, each once, or null"),
        ({"threshold": 3}, "threshold must be a mapping of one field to a number"),
        ({"threshold": {"rating": "high"}}, "threshold must be a mapping of one field to a number"),
        ({"discretization": {"age": {"method": "ED"}}}, "discretization must be a mapping of fields to"),
        ({"discretization": {"age": "LD"}}, "discretization must be a mapping of fields to"),
        ({"eval_args": {}}, "eval_args must be a mapping .* mode: labeled, got {}"),
        ({"eval_args": {"mode": "full"}}, "eval_args must be a mapping"),
        ({"eval_args": {"mode": "labeled", "order": "by time"}}, "eval_args must be a mapping"),
        ({"eval_args": {"mode": "labeled", "split": {"RS": [8, 1]}}}, "eval_args must be a mapping"),
        ({"eval_args": {"mode": "labeled", "splits": {"RS": [8, 1, 1]}}}, "eval_args must be a mapping"),
        ({"metrics": ["nope"]}, "metrics must be a list of metrics of scores: auc, gauc, logloss"),
        ({"metrics": ["Recall"]}, "metrics must be a list of metrics of scores: auc, gauc, logloss"),
        ({"valid_metric": "Recall@10"}, "valid_metric must be a metric of scores"),
        (
            {"valid_metric": "RMSE"},
            r"valid_metric is RMSE, which is not one of the metrics \['AUC', 'LogLoss'\]; add",
        ),
        ({"topk": "x"}, "topk must be an integer from 1, or a list of them"),
        ({"load_col": ["user_id"]}, "load_col must be a mapping of inter, user or item to lists of fields"),
        ({"unused_col": {"inter": 3}}, "unused_col must be a mapping of inter, user or item to lists of fields"),
        ({"val_interval": {"rating": "[1,2"}}, "val_interval must be a mapping of number fields to intervals"),
        ({"val_interval": {"rating": 3}}, "val_interval must be a mapping of number fields to intervals"),
        ({"user_inter_num_interval": "5"}, "user_inter_num_interval must be an interval such as"),
        ({"user_inter_num_interval": "[5,x)"}, "user_inter_num_interval must be an interval such as"),
        ({"numerical_features": "age"}, "numerical_features must be a list of fields, each once, got 'age'"),
        ({"valid_metric_bigger": False}, "valid_metric_bigger follows from valid_metric"),
        ({"normalize_field": ["age", "age"]}, "normalize_field must be a list of fields, each once"),
        ({"seq_len": {"genre": "x"}}, "seq_len must be a mapping of fields to integers from 1"),
        ({"field_separator": ""}, "field_separator must be one ASCII character"),
        ({"encoding": "utf-88"}, "encoding must be an encoding that Python supports"),
        ({"rm_dup_inter": 3}, "rm_dup_inter must be one of first, last"),
        ({"clip_grad_norm": 3}, "clip_grad_norm must be a mapping with max_norm"),
        ({"clip_grad_norm": {"norm": 3}}, "clip_grad_norm must be a mapping with max_norm"),
        ({"transform": "crop_itemseq"}, "transform must be null"),
        ({"learner": "adam"}, "learner: adam uses weight_decay as an L2 penalty, .* 1.0, is too strong; set"),
        ({"plm_lora": {"r": "many"}}, "plm_lora must be a mapping"),
        ({"plm_lora": {"dropout": 1}}, "plm_lora must be a mapping"),
        ({"plm_lora": {"target_modules": 3}}, "plm_lora must be a mapping"),
    ],
)
def test_impossible_settings_are_refused_before_any_data_is_read(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config(**{"dataset": "there_is_no_such_data", "text_fields": {"user_id": "user"}, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"eval_args": {"mode": {"valid": "labeled", "test": "labeled"}, "split": {"LS": "valid_and_test"}}},
        {"eval_args": {"mode": "labeled", "group_by": None, "order": "RO", "split": {"RS": [0.8, 0.1, 0.1]}}},
        {"discretization": {"age": {"method": "LD"}, "price": {"method": "ED", "bucket": 5}}},
        {"plm_lora": {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}},
        {"threshold": {"rating": 3.5}},
        {"val_interval": {"rating": "[1,2];(3.5,inf]", "gender": ["F", "M"]}},
        {"load_col": {"inter": "*", "user": ["user_id"]}},
        {"clip_grad_norm": {"max_norm": 1.0, "norm_type": 2}},
    ],
)
def test_possible_settings_of_the_host_are_taken(make_config, settings):
    ((key, value),) = settings.items()
    modes = {"valid": "labeled", "test": "labeled"}
    expected = {**value, "mode": modes} if "mode" in value else value
    assert expected == {k: v for k, v in make_config(**settings)[key].items() if k in value}


def test_other_learners_take_the_weight_decay_that_is_asked_for(make_config):
    assert make_config(learner="adam", weight_decay=0.01)["weight_decay"] == 0.01


def test_text_fields_are_asked_for_where_a_plm_reads_them(make_config):
    with pytest.raises(SettingError, match="text_fields is not set"):
        make_config(dataset="unknown")
    with pytest.raises(SettingError, match="text_fields is not set"):
        make_config("ClickPromptNoPLM", dataset="unknown")
    for without in ({"train_stage": "finetune"}, {"pretrain_objectives": ["replaced_item"]}):
        assert make_config("ClickPromptNoPLM", dataset="unknown", **without)["text_fields"] is None


def test_options_of_a_users_own_program_are_let_be(make_config, monkeypatch):
    monkeypatch.setattr("sys.argv", ["my_script.py", "--my_option=1", "--num_prompts=3"])
    config = make_config()
    assert config["num_prompts"] == 3
    assert "my_option" not in config


def test_models_of_the_host_keep_their_own_settings():
    config = Config("DCNV2", "ml-100k", None, {"gpu_id": "", "promt_len": 5})
    assert config["embedding_size"] == 16
    assert config["metric_decimal_place"] == 4


def test_a_broken_property_file_is_named(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("epochs: [1\nseed: 2\n")
    with pytest.raises(SettingError, match=r"broken.yaml is not valid YAML: .*line 2"):
        read_yaml(file)
    file.write_text("- a\n- b\n")
    with pytest.raises(SettingError, match=r"must contain `key: value` lines, got list"):
        read_yaml(file)


def test_property_files_hold_plain_data_only(tmp_path):
    file = tmp_path / "evil.yaml"
    file.write_text(f"plm: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    with pytest.raises(SettingError, match="not valid YAML"):
        read_yaml(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PROPS)))
def test_every_key_we_ship_says_its_type_and_meaning_and_is_possible(file):
    depth_0 = [line for line in file.read_text().splitlines() if line[:1] not in ("", " ", "#")]
    assert depth_0
    for line in depth_0:
        assert "# (" in line, line
    settings = declared()
    for key, value in read_yaml(file).items():
        if key in settings:
            assert settings[key].accepts(value), (key, value)


def test_every_backbone_has_a_property_file_and_a_tap():
    assert set(BACKBONES) == {f.stem for f in (PROPS / "backbone").glob("*.yaml")} == set(HOOKS)


def test_an_unknown_data_set_has_the_shared_settings():
    assert load_properties(model="ClickPrompt", dataset="unknown", external={})["num_prompts"] == 5

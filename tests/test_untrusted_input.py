"""Files and values from strangers: real exploits, none of which may run."""

import io
import json
import os
import pickle
import re
import shutil
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model
from recbole.utils import get_model, get_trainer
from safetensors.torch import save_file
from torch.serialization import get_safe_globals

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError, SettingError, WeightsError
from recbole_clickprompt.host.untrusted_input import parse_literal
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer
from recbole_clickprompt.trainer.checkpoint import read_model
from recbole_clickprompt.trainer.pretrained_checkpoint import read_inputs

MARKER = "ran"


class Exploit:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {Path(MARKER).absolute()}",)


def assert_something_ran():
    assert Path(MARKER).exists()
    Path(MARKER).unlink()


def assert_nothing_ran():
    assert not Path(MARKER).exists()


@pytest.fixture(autouse=True)
def _nothing_runs():
    yield
    assert_nothing_ran()


def pickled(path):
    path.write_bytes(pickle.dumps(Exploit()))


def in_a_torch_file(path):
    torch.save({"config": Exploit(), "state_dict": Exploit()}, path)


def in_an_old_torch_file(path):
    torch.save({"config": Exploit(), "state_dict": {}}, path, _use_new_zipfile_serialization=False)


class CallsConfig:
    """Has RecBole's ``Config`` called, which evaluates the text that it is given."""

    def __reduce__(self):
        code = f"__import__('os').system('touch {Path(MARKER).absolute()}')"
        return Config, ("LR", "ml-100k", None, {"x": code})


def as_a_config(path):
    torch.save({"config": CallsConfig(), "state_dict": {}, "other_parameter": None}, path)


def as_a_config_in_a_tuple(path):
    torch.save({"config": {}, "state_dict": {}, "a": (CallsConfig(),)}, path)


def in_a_state(path):
    state = {"format": "clickprompt-resume-2", "stage": "finetune", "inputs": "{}", "random": []}
    torch.save({**state, "x": CallsConfig()}, path)


EXPLOITS = [pickled, in_a_torch_file, in_an_old_torch_file, as_a_config, as_a_config_in_a_tuple, in_a_state]


def test_the_exploits_work():
    Path("file").write_bytes(pickle.dumps(Exploit()))
    pickle.loads(Path("file").read_bytes())
    assert_something_ran()
    torch.save({"state_dict": Exploit()}, "torch")
    torch.load("torch", weights_only=False)
    assert_something_ran()
    as_a_config(Path("config"))
    torch.load("config", weights_only=False)
    assert_something_ran()


@pytest.mark.parametrize("exploit", EXPLOITS)
def test_a_model_file_is_read_and_never_run(exploit, make_config, make_data):
    exploit(Path("evil.pth"))
    with pytest.raises(
        WeightsError, match=r"evil.pth is (not|a pickle, .* never loaded; expected) a model saved by"
    ):
        read_model(Path("evil.pth"))
    with pytest.raises(WeightsError, match="evil.pth"):
        load_data_and_model("evil.pth")
    config = make_config("ClickPromptNoPLM", train_stage="finetune")
    data = make_data(config)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(
        config, get_model(config["model"])(config, data[0]._dataset)
    )
    with pytest.raises(WeightsError, match="evil.pth"):
        trainer.evaluate(data[2], model_file="evil.pth")
    with pytest.raises(WeightsError, match="evil.pth"):
        trainer.resume_checkpoint("evil.pth")


@pytest.mark.parametrize("exploit", EXPLOITS)
def test_the_import_makes_torch_trust_nothing(exploit):
    allowed = {getattr(entry, "__module__", entry) for entry in get_safe_globals()}
    assert not {module for module in allowed if str(module).startswith(("recbole", "yaml"))}
    exploit(Path("evil.pth"))
    with suppress(pickle.UnpicklingError, RuntimeError):
        torch.load("evil.pth", weights_only=True)
        pytest.fail("torch has read it")


@pytest.mark.parametrize("command", ["predict", "export", "attention", "latency", "report"])
@pytest.mark.parametrize("exploit", EXPLOITS)
def test_no_command_runs_what_a_model_file_holds(exploit, command, trained_runs, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained_runs["with"].with_suffix(""), run)
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "checkpoint": "run.pth"}))
    exploit(Path("run.pth"))
    Path("rows.csv").write_text("user_id,item_id,device\nu1,i1,pc\n")
    more = {
        "predict": ["rows.csv", "--output=scores.csv"],
        "export": ["--out=exported"],
        "report": ["--attention", "--out=report.html"],
    }
    assert main([command, "run.pth", *more.get(command, [])]) == 2
    assert "run.pth is " in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["pre_model_path", "resume"])
@pytest.mark.parametrize("exploit", EXPLOITS)
def test_a_checkpoint_named_in_a_setting_is_read_and_never_run(exploit, setting, small, capsys):
    exploit(Path("evil.safetensors"))
    arguments = [f"--{key}={json.dumps(value)}" for key, value in small.items()]
    arguments += ["--dataset=tiny", "--model=ClickPromptNoPLM", "--train_stage=finetune"]
    assert main(["run", *arguments, f"--{setting}=evil.safetensors"]) == 2
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "evil.safetensors" in error


def test_foreign_safetensors_are_no_checkpoint():
    save_file({"a": torch.ones(1)}, "foreign.safetensors")
    with pytest.raises(
        WeightsError, match=r"foreign.safetensors is a safetensors file of another program.*expected the result"
    ):
        read_inputs(Path("foreign.safetensors"))


@pytest.mark.parametrize(
    "tag",
    [
        f"!!python/object/apply:os.system ['touch {MARKER}']",
        f"!!python/object/new:os.system ['touch {MARKER}']",
        "!!python/object:os.stat_result {}",
        "!!python/module:antigravity",
    ],
)
def test_a_property_file_holds_plain_values_only(tag, small, capsys):
    Path("evil.yaml").write_text(f"model: ClickPrompt\ndataset: tiny\nbackbone: {tag}\n")
    assert main(["run", "--config_files=evil.yaml"]) == 2
    assert "error: evil.yaml is not valid YAML" in capsys.readouterr().err
    with pytest.raises(SettingError, match="evil.yaml is not valid YAML"):
        Config("ClickPrompt", "tiny", ["evil.yaml"], dict(small))
    folder = Path("props/dataset")
    folder.mkdir(parents=True)
    Path("evil.yaml").rename(folder / "tiny.yaml")
    with pytest.raises(SettingError, match=r"props.dataset.tiny.yaml is not valid YAML"):
        Config("ClickPrompt", "tiny", None, dict(small))


CODE = f"__import__('os').system('touch {MARKER}')"


def test_values_are_never_evaluated(small, monkeypatch, capsys):
    with pytest.raises(SettingError, match='num_prompts must be an integer, 1 or more, got "__import__'):
        Config("ClickPrompt", "tiny", None, {**small, "num_prompts": CODE})
    dataset = create_dataset(Config(None, "tiny", None, {**small, "model": "ClickPrompt", "plm": CODE}))
    with pytest.raises(WeightsError, match="__import__"):
        dataset.token_table(dataset.config["plm"])
    Path("run.yaml").write_text(yaml.safe_dump({"model": "ClickPrompt", "dataset": "tiny"}))
    monkeypatch.setattr(sys, "argv", ["pytest", f"--num_prompts={CODE.replace('=', '')}"])
    for arguments in [("ClickPrompt", "tiny", None, dict(small)), (None, None, ["run.yaml"], dict(small))]:
        with pytest.raises(SettingError, match="num_prompts must be an integer"):
            Config(*arguments)
    monkeypatch.setattr(sys, "argv", ["pytest", "--model=ClickPrompt", f"--plm={CODE}"])
    assert Config(None, "tiny", None, dict(small))["plm"] == CODE
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert main(["run", "--dataset=tiny", f"--backbone={CODE}"]) == 2
    assert "backbone must be one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-4", -4),
        ("[64, 64]", [64, 64]),
        ("[AUC, LogLoss]", ["AUC", "LogLoss"]),
        ("{a: 1}", {"a": 1}),
        ("0,1", (0, 1)),
        ("None", None),
        ("TRUE", True),
        ("'7'", "7"),
        ("", ""),
        ("\t", "\t"),
        (" ", " "),
        ("saved/x.pth", "saved/x.pth"),
        ("2**9", "2**9"),
        ("b'raw'", "b'raw'"),
        ("[1, !!python/name:os.system ]", "[1, !!python/name:os.system ]"),
    ],
)
def test_texts_stand_for_plain_values(text, value):
    assert parse_literal(text) == value
    assert type(parse_literal(text)) is type(value)


def test_other_models_are_read_as_recbole_reads_them():
    assert Config("LR", "ml-100k", None, {"embedding_size": "2**3"})["embedding_size"] == 8


@pytest.mark.parametrize("name", ["tiny-TextDataset.pth", "tiny-for-ClickPromptNoPLM-dataloader.pth"])
def test_recboles_caches_are_never_unpickled(name, make_config):
    config = make_config("ClickPromptNoPLM", train_stage="finetune")
    Path("saved").mkdir()
    pickled(Path("saved") / name)
    with pytest.raises(DataError, match=f"{re.escape(name)} would be unpickled"):
        data_preparation(config, create_dataset(config))
    with pytest.raises(DataError, match=f"{re.escape(name)} would be unpickled"):
        make_config("ClickPromptNoPLM", train_stage="finetune")


@pytest.mark.parametrize("setting", ["dataset_save_path", "dataloaders_save_path"])
def test_a_cache_named_in_a_setting_is_refused(setting, make_config):
    pickled(Path("evil.pth"))
    with pytest.raises(DataError, match="evil.pth would be unpickled"):
        make_config(**{setting: "evil.pth"})


def test_caches_that_would_be_pickles_are_not_written(make_config):
    with pytest.raises(SettingError, match="save_dataset must be False: it would be a pickle"):
        make_config(save_dataset=True)


def evil_tokenizer(folder, module):
    (folder / f"{module}.py").write_text(
        f"import os\nos.system('touch {Path(MARKER).absolute()}')\n"
        "from transformers import BertTokenizerFast as Evil\nfrom transformers import BertConfig as Config\n"
    )


@pytest.mark.parametrize("kind", [None, "Evil", "EvilFast"])
def test_a_tokenizers_code_is_never_run(kind, tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "plm")
    evil_tokenizer(folder, "tokenizer")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["tokenizer.Evil", "tokenizer.Evil"]}
    settings |= {"tokenizer_class": kind} if kind else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": "tokenizer.Evil", "AutoConfig": "tokenizer.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    with suppress(WeightsError):  # whether it is refused or read without its code
        load_tokenizer(folder)
    assert_nothing_ran()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.bin", "adapter_model.bin"])
def test_pickled_weights_beside_safetensors_are_never_read(name, tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "plm")
    pickled(folder / name)
    load_plm(folder, num_layers=None, dropout=None)
    assert_nothing_ran()


def test_an_index_that_leads_to_pickled_weights_is_refused(tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "plm")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    in_a_torch_file(folder / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": {"bert.embeddings.word_embeddings.weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="its weights cannot be read"):
        load_plm(folder, num_layers=None, dropout=None)


def test_a_zip_bomb_in_the_place_of_a_model_is_refused():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    Path("bomb.pth").write_bytes(content.getvalue())
    with pytest.raises(WeightsError, match="bomb.pth"):
        read_model(Path("bomb.pth"))

"""RecBole's own entry points, and the command line end to end, on ``tiny``."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from recbole.quick_start import objective_function, run_recbole
from recbole.trainer import HyperTuning

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.run_folder import open_run
from tests.conftest import SHORT
from tests.forked import run
from tests.methods.msd.students import save_student

ROOT = Path(__file__).parents[1]
TINY_RUN = ["run", "--model=DNN", "--dataset=tiny", f"--data_path={ROOT / 'dataset_atomic'}", "--gpu_id="]
FIRST_ROWS = [
    "1  user ID is u17. gender is male. age is 25-34. job is painter. device is tablet. film ID is i12. "
    "title is Silent Garden. year is 1985. genre is Drama.",
    "0  user ID is u43. gender is male. age is 25-34. job is poet. device is tablet. film ID is i0. "
    "title is Happy Summer, The.",
]


def flags(settings, **more):
    return [f"--{key}={json.dumps(value)}" for key, value in {**settings, **more}.items()]


def checkpoints():
    return sorted(Path("saved").glob("*.safetensors"))


def test_run_recbole_knows_both_models_by_name_and_they_share_a_pretraining(small):
    result = run_recbole(model="ClickPrompt", dataset="tiny", config_dict={**small, **SHORT})
    assert result["test_result"].keys() == {"auc", "logloss"}
    assert 0 < result["test_result"]["auc"] < 1
    (path,) = checkpoints()
    written = path.stat().st_mtime_ns
    result = run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict={**small, **SHORT})
    assert 0 < result["test_result"]["logloss"] < 1
    assert checkpoints() == [path]
    assert path.stat().st_mtime_ns == written


def test_a_config_file_alone_names_the_model(small):
    Path("run.yaml").write_text(yaml.safe_dump({**small, **SHORT, "model": "ClickPromptNoPLM", "dataset": "tiny"}))
    result = run_recbole(config_file_list=["run.yaml"])
    assert result["best_valid_result"].keys() == {"auc", "logloss"}


def test_hyper_tuning_trials_share_one_pretraining(small):
    Path("fixed.yaml").write_text(yaml.safe_dump({**small, **SHORT, "model": "ClickPrompt", "dataset": "tiny"}))
    Path("space.txt").write_text("learning_rate choice [0.01,0.001]\n")
    tuning = HyperTuning(
        objective_function, algo="exhaustive", params_file="space.txt", fixed_config_file_list=["fixed.yaml"]
    )
    tuning.run()
    assert len(tuning.params2result) == 2
    assert tuning.best_params["learning_rate"] in (0.01, 0.001)
    assert len(checkpoints()) == 1
    assert len(list(Path("saved").glob("*.pth"))) == 2


def test_saved_models_load_in_a_fresh_process_and_score_the_same(trained_runs):
    files = [str(trained_runs[name]) for name in ("with", "plain")]  # of both models
    answer = run(["-c", f"""
import recbole_clickprompt
from recbole.quick_start import load_data_and_model
from recbole.utils import get_trainer
for file in {files!r}:
    config, model, _, _, _, test = load_data_and_model(file)
    print("ANSWER", dict(get_trainer(config["MODEL_TYPE"], config["model"])(config, model).evaluate(test, False)))
"""])  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    loaded = [line.removeprefix("ANSWER ") for line in answer.stdout.splitlines() if line.startswith("ANSWER ")]
    assert loaded == [str(open_run(file).info["test_result"]) for file in files]


def test_the_import_leaves_heavy_packages_alone():
    code = """
import sys
import recbole_clickprompt
print([name for name in ("transformers", "polars", "peft") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.endswith("[]\n")


def test_the_command_line_trains_and_tests(small):
    program = [str(ROOT / "run_recbole_cp.py"), "--model=ClickPrompt", "--dataset=tiny"]
    answer = run([*program, *flags(small, show_progress=True, epochs=1)])
    assert answer.returncode == 0, answer.stderr
    assert "test result" in answer.stdout + answer.stderr
    assert "rows/s" in answer.stderr
    assert len(checkpoints()) == 1


def test_a_backbones_name_trains_it_alone(small, monkeypatch):
    assert main(["run", "-m", "DNN", "-d", "tiny", *flags(small, epochs=1)]) == 0
    assert checkpoints() == []
    assert len(list(Path("saved").glob("*.pth"))) == 1


def test_property_files_choose_model_and_data_set_unless_a_flag_does(small):
    Path("run.yaml").write_text(yaml.safe_dump({**small, "model": "DNN", "dataset": "tiny", "epochs": 1}))
    assert main(["run", "--config_files=run.yaml"]) == 0
    assert main(["run", "--config_files=run.yaml", "--model=ClickPromptNoPLM", "--train_stage=finetune"]) == 0
    files = sorted(Path("saved").glob("*.pth"), key=lambda file: file.stat().st_mtime)
    configs = [torch.load(file)["config"] for file in files]
    assert [config["backbone"] for config in configs] == ["DNN", "DCNV2"]
    assert {config["dataset"] for config in configs} == {"tiny"}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("no-plm", "ClickPromptNoPLM"),
        ("few-labels", "ClickPromptNoPLM"),
        ("with-plm", "ClickPrompt"),
        ("new-items", "ClickPrompt"),
    ],
)
def test_settings_that_did_best_are_found_by_name(small, name, model):
    settings = flags(small, epochs=1, pretrain_epochs=1, weight_decay=0.5, **SHORT)
    assert main(["run", f"--config_files=best/{name}.yaml", "--dataset=tiny", *settings]) == 0
    (file,) = Path("saved").glob("*.pth")
    config = torch.load(file)["config"]
    assert file.name.startswith(f"{model}-")
    assert config["pretrain_objectives"] == ["replaced_item"]
    assert config["weight_decay"] == 0.5  # the command line has the last word
    assert len(list(Path("saved").glob("tiny-DCNV2-pretrained-*.safetensors"))) == 1


@pytest.mark.parametrize("name", ["plain", "history", "new-items-vectors", "new-items-knowledge"])
def test_recipes_at_the_cost_of_an_id_model_train_by_name(small, tmp_path, name):
    data = flags({"data_path": small["data_path"], "gpu_id": ""}, epochs=1, mlp_hidden_size=[8], train_rows=250)
    reads = name.startswith("new-items")
    if reads:
        data += flags({}, student=str(save_student(tmp_path / "student")), student_num_layers=2)
    assert main(["run", f"--config_files=best/{name}.yaml", "--dataset=tiny", *data]) == 0
    (file,) = Path("saved").glob("*.pth")
    config = torch.load(file)["config"]
    assert (config["history_pooling"] == "attention") == (name == "history")
    assert bool(config.get("read_answers")) == (name == "new-items-knowledge")


def test_show_prints_labels_and_exact_sentences(small, capsys):
    assert main(["show", "--dataset=tiny", "--rows=2", f"--data_path={small['data_path']}"]) == 0
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines == FIRST_ROWS


BAD_INPUT = {
    "unknown key": (["--num_promts=3"], "did you mean num_prompts?"),
    "unknown model": (["--model=ClickPromt"], "model must be one of"),
    "unknown backbone": (["--backbone=DCNv3"], "did you mean DCNV2?"),
    "wrong type": (["--num_prompts=few"], "num_prompts must be an integer"),
    "no setting": (["num_prompts=3"], "write --key=value"),
    "given twice": (["--seed=1", "--seed=2"], "--seed is given twice"),
    "broken value": (["--text_fields={a: b"], "--text_fields={a: b"),
    "unknown PLM": (["--plm=nobody/nothing"], "language model 'nobody/nothing'"),
    "PLM folder without tokenizer": (["--plm=PLM"], "has no tokenizer"),
    "missing text field": (["--text_fields={genres: genre}"], "did you mean genre"),
    "empty data set": (["--val_interval={rating: '[9,10]'}"], "has no rows left"),
    "single-class split": (["--threshold={rating: 9}"], "must contain both classes"),
    "unknown data set": (["--dataset=nowhere", "--text_fields={user_id: user}"], "nowhere does not exist"),
    "missing file": (["--config_files=none.yaml"], "there is no config file none.yaml, neither at this path nor"),
    "missing checkpoint": (
        ["--train_stage=finetune", "--pre_model_path=none"],
        "no such pretraining checkpoint",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_line_and_exit_code_2(case, small, capsys, tiny_bert):
    arguments, message = BAD_INPUT[case]
    Path("PLM").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_bert / name, "PLM")
    given = {argument.partition("=")[0].removeprefix("--") for argument in arguments}
    rest = {key: value for key, value in small.items() if key not in given}
    dataset = [] if "dataset" in given else ["--dataset=tiny"]
    before = set(Path().rglob("*"))
    assert main(["run", *dataset, *flags(rest), *arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    written = {path.suffix for path in set(Path().rglob("*")) - before if path.is_file()}
    # RecBole's log of the run, and TensorBoard's, which it opens with the trainer
    assert not [suffix for suffix in written if suffix != ".log" and not suffix[1:].isdigit()]


def test_what_recbole_itself_refuses_is_one_line_too(capsys):
    assert main([*TINY_RUN, "--train_neg_sample_args=3"]) == 2
    assert re.search(r"^error: RecBole rejects this: .+$", capsys.readouterr().err, re.MULTILINE)


def test_a_fault_that_is_nobodys_refusal_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("recbole.data.dataset.dataset.Dataset._fill_nan", lambda self: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        main(TINY_RUN)

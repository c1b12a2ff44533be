"""The valid inputs that are mutated: a small data set, its tables, trained runs and all that they wrote."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import recbole_clickprompt.__main__  # noqa: F401 - registers the models
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.conftest import ROOT, save_tiny_plm
from tests.data.convert.lookalike import ml_1m
from tests.fuzz.sandbox import Answer, call, fork, import_modules

ROWS = 220  # of the data set, all of them of its first users
SETTINGS = """\
dataset: mini
data_path: data
checkpoint_dir: saved
plm: plm
gpu_id: ''
show_progress: False
num_prompts: 2
embedding_size: 4
mlp_hidden_size: [8]
cross_layer_num: 1
epochs: 1
train_batch_size: 64
eval_batch_size: 4096
pretrain_epochs: 1
pretrain_batch_size: 64
numerical_features: [year]
normalize_field: [year]
eval_args: {split: {RS: [6, 2, 2]}, order: TO, group_by: ~, mode: labeled}
"""
GRID = """\
settings: {dataset: mini, data_path: data, checkpoint_dir: saved, gpu_id: '', show_progress: False, epochs: 1,
  plm: plm, pretrain_epochs: 1, embedding_size: 4, model: ClickPromptNoPLM, train_stage: finetune, backbone: LR,
  train_batch_size: 256, eval_args: {split: {RS: [6, 2, 2]}, order: TO, group_by: ~, mode: labeled}}
runs:
  slow: {learning_rate: 1e-3}
  fast: {learning_rate: 0.1}
seeds: [1]
baseline: slow
"""
TUNING = """\
settings: {dataset: mini, data_path: data, checkpoint_dir: saved, gpu_id: '', show_progress: False, epochs: 1,
  plm: plm, pretrain_epochs: 1, embedding_size: 4, model: ClickPromptNoPLM, train_stage: finetune, backbone: LR,
  train_batch_size: 256, eval_args: {split: {RS: [6, 2, 2]}, order: TO, group_by: ~, mode: labeled}}
space:
  learning_rate: choice [1e-3, 0.1]
  reg_weight: choice [0.0]
algorithm: exhaustive
max_evals: 3
seed: 7
"""
QUICK = """\
{model: LR, learning_rate: 1e-3, data_path: data, checkpoint_dir: saved, gpu_id: '', show_progress: False,
  epochs: 1, eval_args: {split: {RS: [6, 2, 2]}, order: TO, group_by: ~, mode: labeled}}
"""
RECIPES = """\
recipes: {plain backbone: quick.yaml}
with_plm: {}
space: {learning_rate: choice [1e-3, 0.1]}
"""


def build(folder: Path) -> Path:
    """Writes the material into a new folder ``material`` of a folder; takes some seconds."""
    target = folder / "material"
    target.mkdir(parents=True)
    _files(target)
    run = ["run", "--config_files=small.yaml"]
    no_plm = [*run, "--model=ClickPromptNoPLM"]
    _call(target, lambda: _keep_run("with", [*run, "--model=ClickPrompt", "--train_stage=finetune",
                                             "--plm_interaction_layers=1"]))  # fmt: skip
    _call(target, lambda: _keep_run("text", [*run, "--model=ClickPrompt", "--train_stage=finetune"]))
    _call(target, lambda: _keep_run("plain", [*no_plm, "--backbone=DeepFM"]))
    _call(target, lambda: _keep_state([*no_plm, "--train_stage=finetune", "--checkpoint_dir=states"]))
    _call(target, lambda: _main(["export", "saved/text.pth", "--out=export", "--rows=20"]))
    _call(target, lambda: _main(["publish", "saved/text.pth", "published"]))
    _call(target, lambda: _main(["grid", "grid.yaml"]))
    _call(target, lambda: _main(["tune", "tuning.yaml"]))
    _call(target, lambda: _main(["latency", "saved/plain", "--out=latency.csv", "--batches=1", "--rounds=1",
                                 "--batch-size=8", "--device=cpu"]))  # fmt: skip
    for run, file in (("saved/plain", "plain"), ("saved/text", "text"), ("export", "export")):
        scores = ["predict", run, "rows.csv", "--keep=n", f"--output=scores-{file}.csv"]
        _call(target, lambda scores=scores: _main(scores))
    for name, split in (("mini", []), ("parts", ["--benchmark_filename=[train, valid, test]"])):
        show = ["show", "--config_files=small.yaml", "--model=ClickPrompt", "--rows=100000", f"--dataset={name}"]
        _call(target, lambda show=show, split=split: _main([*show, *split]))
        shutil.copy(folder / "out.txt", target / f"shown-{name}.txt")
    _call(target, lambda: _keep_result("resumed", [*no_plm, "--train_stage=finetune", "--checkpoint_dir=resumed",
                                                   "--resume=auto"]))  # fmt: skip
    for name in ("log", "log_tensorboard", "resumed"):
        shutil.rmtree(target / name, ignore_errors=True)
    return target


def _files(target: Path) -> None:
    data, tiny = target / "data" / "mini", ROOT / "dataset_atomic" / "tiny"
    data.mkdir(parents=True)
    lines = (tiny / "tiny.inter").read_text(encoding="utf-8").splitlines()
    users = {f"u{number}" for number in range(12)}
    rows = [line for line in lines[1:] if line.split("\t")[0] in users][:ROWS]
    (data / "mini.inter").write_text("\n".join([lines[0], *rows]) + "\n", encoding="utf-8")
    for kind in ("item", "user"):
        shutil.copy(tiny / f"tiny.{kind}", data / f"mini.{kind}")
    split = target / "data" / "parts"
    shutil.copytree(data, split)
    (split / "mini.inter").unlink()
    for kind in ("item", "user"):
        (split / f"mini.{kind}").rename(split / f"parts.{kind}")
    for name, part in (("train", rows[:120]), ("valid", rows[120:170]), ("test", rows[170:])):
        (split / f"parts.{name}.inter").write_text("\n".join([lines[0], *part]) + "\n", encoding="utf-8")
    properties = target / "props" / "dataset"
    properties.mkdir(parents=True)
    for name in ("mini", "parts"):
        shutil.copy(ROOT / "props" / "dataset" / "tiny.yaml", properties / f"{name}.yaml")
    save_tiny_plm("bert", target / "plm")
    for name, text in (("small", SETTINGS), ("grid", GRID), ("tuning", TUNING), ("quick", QUICK)):
        (target / f"{name}.yaml").write_text(text, encoding="utf-8")
    (target / "props" / "best").mkdir()
    (target / "props" / "best" / "recipes.yaml").write_text(RECIPES, encoding="utf-8")
    (target / "hyper.test").write_text("learning_rate choice [0.001,0.1]\nreg_weight choice [0.0]\n")
    _tables(target, lines[0].split("\t"), rows)
    ml_1m(target / "ml-1m.zip")


def _tables(target: Path, header: list[str], rows: list[str]) -> None:
    table = pd.DataFrame([row.split("\t") for row in rows], columns=[name.partition(":")[0] for name in header])
    table["price"] = [f"{number % 7}.5" for number in range(len(table))]
    table["when"] = pd.to_datetime(table.pop("timestamp").astype(float), unit="s").dt.strftime("%Y-%m-%d %H:%M:%S")
    table["liked"] = (table.pop("rating").astype(float) > 3).astype(int)
    table["note"] = [f"a {number % 5}, good" if number % 3 else "" for number in range(len(table))]
    table["n"] = [f"n{number}" for number in range(len(table))]
    table = table[:60]
    table.to_csv(target / "table.csv", index=False)
    table.drop(columns="note").to_csv(target / "table.tsv", index=False, sep="\t")
    table.to_parquet(target / "table.parquet")
    rows_to_score = table[["n", "user_id", "item_id", "device"]]
    rows_to_score.to_csv(target / "rows.csv", index=False)
    rows_to_score.to_csv(target / "rows.tsv.gz", index=False, sep="\t")
    rows_to_score.to_parquet(target / "rows.parquet")


def _call(folder: Path, work: Callable[[], None]) -> None:
    error, modules = folder.parent / "error.txt", folder.parent / "modules.json"

    def inside() -> None:
        os.chdir(folder)
        before = set(sys.modules)
        work()
        modules.write_text(json.dumps(sorted(set(sys.modules) - before)), encoding="utf-8")

    status = os.waitstatus_to_exitcode(os.waitpid(fork(inside, error), 0)[1])
    if status:
        reason = error.read_text(encoding="utf-8") if error.is_file() else f"the process ended with {status}"
        raise RuntimeError(f"the material of the fuzzer cannot be built: {reason}")
    import_modules(json.loads(modules.read_text(encoding="utf-8")))


def _main(arguments: list[str], code: int = 0) -> Answer:
    answer = call(arguments, Path("..").resolve(), cpu_seconds=240)  # with the imports, which are for all cases
    if answer.code != code:
        raise RuntimeError(f"{arguments}: {answer.code}, {answer.failure or answer.err[-1000:]}")
    return answer


def _keep_run(name: str, arguments: list[str]) -> None:
    before = set(Path("saved").glob("*.pth"))
    answer = _main(arguments)
    (checkpoint,) = set(Path("saved").glob("*.pth")) - before
    _save_result(name, answer.err)
    folder = checkpoint.with_suffix("")
    checkpoint.rename(checkpoint.with_name(f"{name}.pth"))
    folder = folder.rename(folder.with_name(name))
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    info["checkpoint"] = f"{name}.pth"
    (folder / "run.json").write_text(json.dumps(info, indent=1), encoding="utf-8")


def _keep_result(name: str, arguments: list[str]) -> None:
    shutil.copytree("states", "resumed")
    _save_result(name, _main(arguments).err)


def _save_result(name: str, log: str) -> None:
    Path(f"result-{name}.txt").write_text(logged_result(log) or "", encoding="utf-8")


def logged_result(log: str) -> str | None:
    """The last test result in a log."""
    found = re.findall(r"test result: (.*)", log)
    return found[-1] if found else None


def _keep_state(arguments: list[str]) -> None:
    """Ends a training by SIGTERM at its second batch."""
    original, calls = TrainingStage.train_batch, []

    def train_batch(self: TrainingStage, *args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *args, **kwargs)

    TrainingStage.train_batch = train_batch
    _main(arguments, code=143)

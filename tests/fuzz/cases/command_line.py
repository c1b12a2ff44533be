"""The command line: values, flags, files and variables of the environment, of every command."""

from __future__ import annotations

import socket
from random import Random
from typing import Any

import yaml
from recbole.utils import argument_list

from recbole_clickprompt.settings.registry import declared
from tests.fuzz.case import Attempt, Case
from tests.fuzz.sandbox import Answer

_SMALL = ["--config_files=small.yaml"]
_RUN = [
    "run",
    *_SMALL,
    "--model=ClickPromptNoPLM",
    "--train_stage=finetune",
    "--backbone=FM",
    "--checkpoint_dir=out",
]
COMMANDS = [
    _RUN,
    [*_RUN, "--nproc=2", "--port=29555"],
    [*_RUN, "--nproc=1", "--world_size=2", "--ip=localhost", "--port=29555", "--group_offset=1"],
    ["show", *_SMALL, "--model=ClickPrompt", "--dataset=mini", "--rows=3"],
    ["show", *_SMALL, "--model=ClickPrompt", "--plm_num_layers=1", "--text_fields={title: name}"],
    ["grid", "grid.yaml", "--seeds=[1]", "--epochs=1"],
    ["tune", "tuning.yaml", "--epochs=1"],
    ["compare", "mini", "--minutes=0.001", "--epochs=1"],
    ["metrics", "saved/plain", "b=saved/text.pth", "--baseline=b", "--samples=20", "--seed=1", "--confidence=0.9"],
    ["metrics", "saved/plain", "--split=valid", "--samples=20", "--out=out.csv"],
    ["long-tail", "saved/plain", "saved/text", "--tail=0.2", "--unseen-is-tail", "--samples=20"],
    ["long-tail", "results/grid-mini.csv", "--bins=0,1,inf", "--baseline=slow", "--samples=20", "--out=out.json"],
    ["report", "saved/plain", "--out=out.html", "--samples=20", "--latency=latency.csv", "--baseline=saved/plain"],
    ["attention", "saved/text", "--row=1", "--row=2", "--split=valid", "--out=out.parquet"],
    ["latency", "saved/plain", "--batch-size=8", "--batches=1", "--rounds=1", "--threads=1", "--device=cpu"],
    ["predict", "saved/plain", "rows.csv", "--output=out.csv", "--keep=n", "--device=cpu", "--no-quoting"],
    ["predict", "export", "rows.parquet", "--output=out.parquet"],
    ["from-table", "table.csv", "--user=user_id", "--item=item_id", "--label=liked", "--time=when", "--name=new",
     "--out=out", "--threshold=1", "--date-format=%Y-%m-%d %H:%M:%S"],
    ["from-table", "table.parquet", "--user=user_id", "--item=item_id", "--label=liked", "--name=new",
    "--day-first",
     "--time=when", "--drop-missing"],
    ["prepare", "ml-1m", "--raw=ml-1m.zip", "--out=out"],
    ["export", "saved/plain", "--out=new", "--rows=5"],
]  # fmt: skip
ODD = [
    "", " ", "0", "-1", "1", "2", "0.5", "1" * 30, "1" * 5000, "1e400", "1e-3", "nan", "inf", "-inf", ".nan", "x",
    "x" * 300, "x" * 5000, "a/b/c", "/", ".", "..", "~", "[[1, [2]]]", "[1, 2]", "{a: 1}", "{a: {b: [1]}}", "[",
    "{a",
    "2020-02-30", "&a [*a]", "*a", "!!python/object/apply:os.getcwd []", "a: b", "\udcff\udcfe", "é😀", "a\nb",
    "a\tb",
    "a b", "None", "null", "True", "off", "-x", "--", "rows.csv", "saved", "saved/plain", "small.yaml",
    "nothing.csv",
    "nothing/out.csv", "/dev/null", "/proc/nothing", "small.yaml/x", "'",
    '"', "%s", "%Q", "=", "a=b", "=saved/plain",
    "gpu", "cuda", "cuda:7", "65536", "99999", "80", "auto", "plm", "table.csv", "data", "[" * 2000,
    "out/out.html",
]  # fmt: skip
_VARIABLES = [
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "OMP_NUM_THREADS",
]
_UNKNOWN = [
    "--nothing=1",
    "--nothing",
    "-q",
    "--seed",
    "--model",
    "--local_rank=0",
    "--local_rank=x",
    "--help=1",
    "x",
]
# A large value of these is a long training, and rightly so
_LONG = {"epochs", "pretrain_epochs", "worker", "nproc", "stopping_step", "train_batch_size", "eval_step"}


class CommandLine(Case):
    """Whatever is called: success, or one line of error."""

    name = "command line"
    weight = 8
    outputs = ("results", "saved", "props", "dataset_atomic")

    def attempt(self, rng: Random) -> Attempt:
        command, environment = list(rng.choice(COMMANDS)), {}
        at = rng.randrange(1, len(command))
        kind = rng.choice(
            ["value"] * 8 + ["setting"] * 6 + ["drop", "repeat", "unknown", "swap", "variables", "port"]
        )
        if kind == "setting":
            command = list(rng.choice([_RUN, COMMANDS[3], COMMANDS[5], COMMANDS[6]]))
            command.append(f"--{rng.choice(_settings())}={rng.choice(ODD)}")
        elif kind == "value":
            flag, equals, _ = command[at].partition("=")
            command[at] = f"{flag}={rng.choice(ODD)}" if equals else rng.choice(ODD)
        elif kind == "drop":
            del command[at]
        elif kind == "repeat":
            command.append(command[at])
        elif kind == "unknown":
            command.insert(at, rng.choice(_UNKNOWN))
        elif kind == "swap":
            command[at] = rng.choice(ODD)
        elif kind == "variables":
            command = list(_RUN)
            environment = {name: rng.choice(["", "x", "two", "0", "1", "2", "-1", "1e3"]) for name in _VARIABLES}
            for name in rng.sample(_VARIABLES, rng.randrange(5)):
                del environment[name]
        else:
            command = [*_RUN, "--nproc=2", f"--port={_port_in_use() if rng.random() < 0.5 else rng.choice(ODD)}"]
        shown = " ".join(command)[-120:].encode("utf-8", "backslashreplace").decode()
        return Attempt(
            f"{kind}: ... {shown!r}", command, lambda answer: self._judge(answer, command), environment, None
        )

    def _judge(self, answer: Answer, command: list[str]) -> str:
        for argument in command[1:]:
            flag, equals, text = argument.removeprefix("--").partition("=")
            if equals and not text.strip() and flag in ("model", "dataset"):
                return f"--{flag} is empty, and a default was taken"
            if command[0] in ("run", "show") and equals and flag in _settings() and flag in answer.config:
                try:
                    value: Any = yaml.safe_load(text)
                except (yaml.YAMLError, ValueError):
                    return f"accepted, where PyYAML refuses {argument[:80]}"
                if isinstance(value, bool | int) and answer.config[flag] != value and flag not in _OTHERWISE:
                    return f"{argument[:80]}, and in the run it is {answer.config[flag]!r:.80}"
        return ""


# RecBole makes something else of them
_OTHERWISE = {
    "gpu_id",
    "device",
    "topk",
    "metrics",
    "valid_metric",
    "data_path",
    "local_rank",
    "world_size",
    "offset",
}
_PROBES: list[socket.socket] = []


def _settings() -> list[str]:
    theirs = (
        argument_list.general_arguments, argument_list.training_arguments, argument_list.evaluation_arguments,
        argument_list.dataset_arguments,
    )  # fmt: skip
    return sorted({*declared(), *(name for names in theirs for name in names), "device", "local_rank"} - _LONG)


def _port_in_use() -> int:
    probe = socket.socket()
    probe.bind(("localhost", 0))
    probe.listen()
    _PROBES.append(probe)  # or it would be closed at once
    return int(probe.getsockname()[1])

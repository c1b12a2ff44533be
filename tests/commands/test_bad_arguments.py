"""Arguments that are refused in one line before any data is read."""

import errno
import json
import os
import socket
from pathlib import Path

import pytest
import torch

from recbole_clickprompt.__main__ import main

LONG = "x" * 300
TOO_LONG = ": File name too long"
REFUSED = {
    "port 0": (["--port=0"], "--port must be from 1 to 65535, got 0"),
    "port of a group": (["--nproc=2", "--port=0"], "--port must be from 1 to 65535, got 0"),
    "port too high": (["--port=65536"], "--port must be from 1 to 65535, got 65536"),
    "local rank": (
        ["--local_rank=1"],
        "local_rank is set by what starts the processes, such as --nproc; leave it out",
    ),
    "local rank of text": (["--local_rank=two"], "local_rank is set by what starts the processes"),
    "offset": (["--offset=x"], "offset must be an integer, 0 or more, got 'x'"),
    "no data set": (["--dataset="], "dataset must be the name of a data set"),
    "no model": (["--model="], "model must be one of ClickPrompt"),
    "long data set": ([f"--dataset={LONG}"], "dataset must be the name of a data set"),
    "path of a data set": (["--dataset=../tiny"], "dataset must be the name of a data set"),
    "NUL": (["--dataset=ti\0ny"], "dataset must be the name of a data set"),
    "long file": ([f"--config_files={LONG}"], "there is no config file xxx"),
    "long folder": ([f"--checkpoint_dir={LONG}"], TOO_LONG),
    "long data path": ([f"--data_path={LONG}"], TOO_LONG),
    "long PLM": (["--model=ClickPrompt", f"--plm={LONG}"], TOO_LONG),
    "long parts": ([f"--benchmark_filename=[{LONG}, b, c]"], TOO_LONG),
    "long backbone": (["--model=ClickPrompt", f"--backbone={LONG}"], "backbone must be one of"),
    "huge size": ([f"--embedding_size={10**30}"], "embedding_size must be an integer, 1 or more, got 1000"),
    "huge sizes": ([f"--mlp_hidden_size=[{10**30}]"], "mlp_hidden_size must be "),
    "5000 digits": ([f"--epochs={'9' * 5000}"], "--epochs=9"),
    "state": (["--state=[a]"], "state must be one of critical, error, warning, info, debug, got ['a']"),
    "list for an id": (
        ["--USER_ID_FIELD=[user_id]"],
        "USER_ID_FIELD must be the name of a field, a text of at most 200 characters, got ['user_id']",
    ),
    "no id": (
        ["--ITEM_ID_FIELD=~"],
        "ITEM_ID_FIELD must be the name of a field, a text of at most 200 characters, got None",
    ),
    "no label": (
        ["--LABEL_FIELD=~"],
        "LABEL_FIELD must be the name of a field, a text of at most 200 characters, got None",
    ),
    "mapping for the time": (
        ["--TIME_FIELD={a: b}"],
        "TIME_FIELD must be the name of a field, a text of at most 200 characters, got {",
    ),
    "list for the label": (
        ["--LABEL_FIELD=[a]"],
        "LABEL_FIELD must be the name of a field, a text of at most 200 characters, got ['a']",
    ),
}


def error_of(arguments, small, capsys):
    given = {argument.partition("=")[0].removeprefix("--") for argument in arguments}
    settings = {"model": "DNN", "dataset": "tiny", "gpu_id": "", **{k: small[k] for k in ("data_path", "plm")}}
    rest = [f"--{key}={value}" for key, value in settings.items() if key not in given]
    assert main(["run", *rest, *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_one_line(case, small, capsys):
    arguments, message = REFUSED[case]
    line = error_of(arguments, small, capsys)
    assert message in line
    assert len(line) < 1600


def test_a_port_in_use_is_one_line(small, capsys):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = error_of(["--nproc=2", f"--port={port}"], small, capsys)
    assert f"--port={port} cannot be used: Address already in use" in line


TORCHRUN = {
    "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WORLD_SIZE", "two", "must be a whole number from 1 to "),
        ("RANK", "2", "must be below WORLD_SIZE"),
        ("RANK", "-1", "must be a whole number from 0 to"),
        ("LOCAL_RANK", "x", "must be a whole number from 0 to"),
        ("LOCAL_WORLD_SIZE", "3", "must be at most WORLD_SIZE, 2, got 3"),
        ("MASTER_PORT", "99999", "must be a whole number from 0 to 65535"),
    ],
)
def test_variables_of_torchrun_are_checked(name, value, told, small, capsys, monkeypatch):
    for variable, given in {**TORCHRUN, name: value}.items():
        monkeypatch.setenv(variable, given)
    line = error_of([], small, capsys)
    assert f"the environment variable {name} {told}" in line


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tpu"])
def test_a_device_that_the_run_would_not_use_is_refused(device, small, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = error_of([f"--device={device}"], small, capsys)
    assert f"device is '{device}', but this run uses cpu, as there is no GPU" in line


@pytest.mark.parametrize("name", ["tiny.inter", "mine.yaml"])
def test_what_cannot_be_read_is_not_said_to_be_unwritable(name, small, capsys, monkeypatch):
    def refuse(path, *arguments, **keywords):
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original(path, *arguments, **keywords)

    original = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    Path("mine.yaml").touch()
    line = error_of(["--config_files=mine.yaml"], small, capsys)
    assert line.endswith(f"{name}{' cannot be read' * (name == 'mine.yaml')}: Permission denied")


def test_an_empty_name_in_a_file_is_no_default(capsys):
    Path("mine.yaml").write_text(json.dumps({"model": "", "dataset": "tiny"}))
    assert main(["show", "--config_files=mine.yaml"]) == 2
    assert "error: model must be one of ClickPrompt" in capsys.readouterr().err

"""Runs in several processes through the front door, and what ends them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.multiprocessing as mp

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError, UserError
from recbole_clickprompt.host.launch import _first_failure, launch
from tests.forked import Program

ROOT = Path(__file__).parents[2]


def flags(settings, **more):
    return [f"--{key}={json.dumps(value)}" for key, value in {**settings, **more}.items()]


@pytest.fixture
def forked_ranks(monkeypatch):
    """Ranks are forks of a process that has imported the libraries, and not new ones."""
    start = mp.start_processes
    monkeypatch.setattr(mp, "start_processes", lambda *a, **kw: start(*a, **{**kw, "start_method": "forkserver"}))


def written():
    """Kinds of files in the working folder, each with how many there are."""
    kinds = {
        "log": "log/**/*.log", "board": "log_tensorboard/*", "model": "saved/*.pth", "run": "saved/*/run.json",
        "baselines": "saved/*.baselines", "file": "saved/*.*",
    }  # fmt: skip
    return {kind: len(list(Path().glob(pattern))) for kind, pattern in kinds.items()}


WRITTEN_ONCE = {"log": 1, "board": 1, "model": 1, "run": 1, "baselines": 1, "file": 2}


class Fault(dict):
    """Arguments of ``clip_grad_norm_`` behind which a rank fails at its second step."""

    steps = 0

    def __init__(self, how):
        super().__init__(max_norm=1.0)
        self.how = how

    def __bool__(self):
        self.steps += 1
        if os.environ["RANK"] == "1" and self.steps == 2:
            Path("died").touch()
            if self.how == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the disk is on fire")
        return True


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("raises", RuntimeError, "rank 1 failed and the run has ended:(?s:.)*the disk is on fire"),
        ("is killed", UserError, "as process 1 of this machine was ended by SIGKILL, .*; --resume=auto continues"),
    ],
)
def test_a_rank_that_dies_ends_the_run_within_a_minute_and_with_its_error(small, how, kind, message, forked_ranks):
    settings = {**small, "train_stage": "finetune", "epochs": 500, "clip_grad_norm": Fault(how)}
    with pytest.raises(kind, match=message):
        launch(
            ("ClickPromptNoPLM", "tiny", [], settings),
            nproc=2, world_size=2, ip="localhost", port=None, group_offset=0,
        )  # fmt: skip
    assert time.time() - Path("died").stat().st_mtime < 60


@pytest.mark.slow
def test_two_processes_train_and_write_once(small):
    assert main(["run", "--nproc=2", "-d", "tiny", "-m", "DNN", *flags(small, epochs=1, baselines=True)]) == 0
    assert written() == WRITTEN_ONCE


def test_bad_input_of_two_processes_is_one_line(small, capsys, forked_ranks):
    assert main(["run", "--nproc=2", "-d", "tiny", *flags(small), "--backbone=DCNv3"]) == 2
    (line,) = re.findall("error: .*", capsys.readouterr().err)
    assert "did you mean DCNV2?" in line


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"nproc": 0}, "do not fit --world_size=4"),
        ({"group_offset": 3}, "--group_offset=3 do not fit --world_size=4"),
        ({"group_offset": -1}, "do not fit"),
        ({}, "several machines require --port"),
    ],
)
def test_numbers_of_processes_that_contradict_each_other_are_refused(numbers, message):
    place = {"nproc": 2, "world_size": 4, "ip": "localhost", "port": None, "group_offset": 0, **numbers}
    with pytest.raises(SettingError, match=message):
        launch((), **place)


class Failures:
    """A queue that holds what it was made with."""

    def __init__(self, *failures):
        self.failures = list(failures)

    def empty(self):
        return not self.failures

    def get(self):
        return self.failures.pop()


RAISED = mp.ProcessRaisedException("lost the connection", 0, 77)
LATE, EARLY, KNOWN = (9.0, 0, None, "connection closed"), (8.0, 2, None, "out of memory"), (7.0, 1, "bad plm", "")


@pytest.mark.parametrize(
    ("failures", "kind", "message"),
    [
        ((LATE, EARLY), RuntimeError, "rank 2 failed .*\nout of memory"),
        ((EARLY, KNOWN), UserError, "bad plm"),
    ],
)
def test_of_several_failures_the_first_is_told(failures, kind, message):
    error = _first_failure(Failures(*failures), RAISED)
    assert type(error) is kind
    assert re.match(message, str(error))


def test_a_rank_that_leaves_with_an_exit_code_gives_it_to_the_run():
    left = mp.ProcessExitedException("left", 0, 77, exit_code=143)
    error = _first_failure(Failures(LATE), left)
    assert isinstance(error, SystemExit)
    assert error.code == 143


@pytest.mark.slow
def test_torchrun_starts_the_front_door(small):
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(ROOT / "run_recbole_cp.py"),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    once = flags(small, epochs=1, baselines=True)
    process = subprocess.run(
        [sys.executable, "-W", "ignore", *command, "-m", "DNN", "-d", "tiny", *once],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert process.stdout.count("test result") == 1
    assert written() == WRITTEN_ONCE


MACHINE = f"""
import runpy
import torch.multiprocessing as mp
start = mp.start_processes
mp.start_processes = lambda *a, **kw: start(*a, **{{**kw, "start_method": "fork"}})
runpy.run_path({str(ROOT / "run_recbole_cp.py")!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_several_machines_meet_at_the_address_of_the_first(small):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    where = ["--nproc=1", "--world_size=2", "--ip=127.0.0.1", f"--port={port}"]
    once = flags(small, epochs=1, baselines=True)
    machines = [
        Program(["-c", MACHINE, *where, f"--group_offset={n}", "-m", "DNN", "-d", "tiny", *once]) for n in (0, 1)
    ]
    ended = [machine.finish() for machine in machines]
    assert [machine.returncode for machine in ended] == [0, 0], ended
    assert ["test result" in machine.stdout + machine.stderr for machine in ended] == [True, False]
    assert written() == WRITTEN_ONCE

"""The benchmark's command on ``tiny``."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.bench import main
from benchmarks.stages import process
from benchmarks.stages.job import Figure, Job
from benchmarks.stages.process import measure_memory
from tests.forked import run


@pytest.fixture
def forked_workers(monkeypatch):
    """Worker processes are forks of a process that has imported the libraries, and not new ones."""

    def run_fork(command, *, input, text, env, check):
        assert command[:3] == [sys.executable, "-W", "ignore"]
        return run(command[3:], env, input)

    monkeypatch.setattr(process.subprocess, "run", run_fork)


FIRST = ("plain reference", "ours bf16, exact", "RecBole", "backbone alone")


def flags(settings):
    where = ("gpu_id", "show_progress")  # the benchmark's own business
    return [f"--{key}={json.dumps(value)}" for key, value in settings.items() if key not in where]


def test_it_times_every_stage_and_writes_what_it_prints(small, capsys, forked_workers):
    options = ["--quick", "--dataset=tiny", "--no-memory", "--threads=1", "--device=cpu", "--out=r/bench.json"]
    variant = ["--variant", "num_prompts=1 enable_amp=True"]
    assert main([*options, *variant, *flags(small)]) == 0
    out = capsys.readouterr().out
    figures = json.loads(Path("r/bench.json").read_text())["figures"]
    stages = [figure["stage"] for figure in figures]
    joint = {"joint-pamlm": 4, "joint-finetune": 4, "joint-inference": 5}
    expected = {"pamlm": 4, "finetune": 4, "inference": 4, **joint, "backbone": 5, "backbone-inference": 4}
    assert {stage: stages.count(stage) for stage in stages} == expected
    assert all(figure["rows_per_s"] > 0 and figure["gflop_per_row"] > 0 for figure in figures)
    assert {figure["contender"] for figure in figures if figure["ratio"] == 1} == set(FIRST)
    assert "| pamlm | 8 | ours, num_prompts=1, enable_amp=True | " in out
    assert "allocator: default" in out
    assert "1 threads" in out


def test_some_contenders_can_be_left_out(small, capsys, forked_workers):
    options = ["--quick", "--dataset=tiny", "--no-memory", "--device=cpu", "--out=bench.json"]
    assert main([*options, "--stages", "backbone", "--only", "bf16", *flags(small)]) == 0
    figures = json.loads(Path("bench.json").read_text())["figures"]
    assert [figure["contender"] for figure in figures] == ["RecBole", "ours bf16"]


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own(small):
    figures = [Figure("pamlm", 64, "plain reference", 1.0, 1.0, 1.0, 1.0)]
    told = []
    measure_memory(Job(dataset="tiny", settings=small, threads=1), figures, told.append)
    assert told == ["memory of pamlm, batch 64, plain reference"]
    assert 0.5 < figures[0].memory_mb < 500
    assert figures[0].memory_ratio == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "pamml"], "there is no stage pamml; the stages are pamlm, finetune"),
        (["--repeats=0"], "--repeats must be 1 or more, got 0"),
        (["--batches", "64", "0"], "--batches must be 1 or more, got [64, 0]"),
        (["--device=cuda"], "torch finds no GPU here"),
        (["--out=bench.txt"], "--out must end in .json or .csv, got bench.txt"),
        (["--variant", "num_prompts"], "is not a setting; write --key=value"),
        (
            ["--only", "theirs", "--stages", "backbone-inference"],
            "has 'theirs' in its name; they are",
        ),
    ],
)
def test_impossible_options_are_one_line_of_error(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_a_process_refuses_is_told_by_the_command(small, capsys, forked_workers):
    options = ["--quick", "--dataset=tiny", "--stages", "pamlm"]
    assert main([*options, *flags({**small, "num_prompts": 0})]) == 2
    assert "num_prompts must be an integer, 1 or more, got 0" in capsys.readouterr().err

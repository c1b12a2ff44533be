"""Impossible command lines and files: one line of error and exit code 2, whatever the command."""

import json
import socket

import pytest

from recbole_clickprompt.__main__ import main

RANKS = {
    "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost",
    "MASTER_PORT": "4711",
}  # fmt: skip


def error_of(capsys, *arguments):
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("command", [["metrics"], ["predict", "--output=out.csv", "rows.csv"], ["grid"], ["tune"]])
def test_a_name_longer_than_the_file_system_takes_is_one_line(capsys, command):
    assert "xxx" in error_of(capsys, *command, "x" * 300)


def test_a_value_of_any_length_gives_a_message_of_bounded_length(capsys):
    line = error_of(capsys, "show", "--model=ClickPrompt", "--dataset=tiny", f"--shuffle_text={'x' * 10**5}")
    assert "shuffle_text must be True or False" in line
    assert len(line) < 2000


def test_the_parser_of_arguments_keeps_its_messages_short_too(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["metrics", "run", f"--samples={'x' * 10**5}"])
    assert len(capsys.readouterr().err.splitlines()[-1]) < 2000


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999999999"])
def test_a_port_out_of_range_is_refused(capsys, port):
    line = error_of(capsys, "run", "--model=ClickPrompt", "--dataset=tiny", "--nproc=2", f"--port={port}")
    assert f"--port must be from 1 to 65535, got {port}" in line


def test_a_port_in_use_is_refused(capsys):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = error_of(capsys, "run", "--model=ClickPrompt", "--dataset=tiny", "--nproc=2", f"--port={port}")
    assert f"--port={port} cannot be used: Address already in use; take another" in line


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number from 1 to 1048576, got 'two'"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE must be a whole number from 1 to 1048576, got ''"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK must be a whole number from 0"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT must be a whole number from 0 to 65535"),
        ({"RANK": "2"}, "RANK must be below WORLD_SIZE, got 2 and 2"),
    ],
)
def test_rank_variables_that_cannot_be_are_refused(capsys, monkeypatch, variables, message):
    for name, value in {**RANKS, **variables}.items():
        monkeypatch.setenv(name, value)
    assert message in error_of(capsys, "run", "--model=ClickPrompt", "--dataset=tiny")


def test_a_rank_without_the_other_variables_is_refused(capsys, small):
    settings = [f"--{key}={value!r}" for key, value in small.items() if key != "gpu_id"]
    line = error_of(
        capsys, "run", "--model=ClickPromptNoPLM", "--dataset=tiny", *settings, "--gpu_id=''", "--local_rank=0"
    )
    assert "local_rank is set by what starts the processes, such as --nproc; leave it out" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rate: 1e-3\nlearning_rate: 0.5\n", "the key 'learning_rate' is there twice"),
        ("learning_rate: &a [*a]\n", "a value contains itself"),
        (f"learning_rate: {'[' * 3000}\n", "nested more than 50 deep"),
        ("learning_rate: !!int ''\n", "'' cannot be read as int"),
        ("learning_rate: 2020-02-30\n", "learning_rate must be a number above 0, got '2020-02-30'"),
    ],
)
def test_a_property_file_that_holds_no_plain_values_is_refused(capsys, tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    line = error_of(capsys, "show", "--model=ClickPrompt", "--dataset=tiny", "--config_files=mine.yaml")
    assert message in line


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--model=", "model must be one of"),
        ("--dataset=", "dataset must be the name of a data set"),
        ("--dataset=a/b", "dataset must be the name of a data set"),
        (f"--dataset={'x' * 300}", "dataset must be the name of a data set"),
        ("--USER_ID_FIELD=[a, b]", "USER_ID_FIELD must be the name of a field"),
        ("--TIME_FIELD=3", "TIME_FIELD must be the name of a field"),
        ("--gpu_id=first", "gpu_id must be numbers of GPUs"),
        ("--warm_start=", "--warm_start= has no value; write --warm_start=~ for None"),
        ("--knowledge= ", "--knowledge= has no value"),
    ],
)
def test_names_that_cannot_be_are_refused_and_never_replaced_by_a_default(capsys, flag, message):
    arguments = [a for a in ("--model=ClickPrompt", "--dataset=tiny") if not a.startswith(flag.partition("=")[0])]
    assert message in error_of(capsys, "show", *arguments, flag)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("runs: {a: {1: 2}}\n", "1 is no name of a setting"),
        ("runs: {a: {}}\nresults: [a]\n", "results must be a str"),
        ("runs: {a: {}}\nresults: a.txt\n", "results must end in .csv or .parquet"),
        ("runs: {a: {model: [DNN]}}\n", "model must be a name, got"),
        ("runs: {a: {}}\nsettings: {dataset: [tiny]}\n", "dataset must be a name, got"),
        ("runs: {a: {}}\nbaseline: [a]\n", "baseline must be"),
        ("runs: {a: {}}\n", "the run a has no data set; add dataset to settings"),
    ],
)
def test_a_grid_of_other_types_is_refused(capsys, tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    assert message in error_of(capsys, "grid", "mine.yaml")


def test_a_title_that_is_no_text_is_refused(capsys, trained_runs, tmp_path):
    folder = trained_runs["plain"].with_suffix("")
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({**info, "title": ["a"]}), encoding="utf-8")
    assert "title must be a text, got ['a']" in error_of(capsys, "metrics", "run")

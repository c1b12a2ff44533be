"""Published models are timed next to each other, on rows made of their vocabularies."""

import json
from pathlib import Path

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.serving.publish import publish

FLAGS = ["--batch-size=16", "--batches=2", "--rounds=1"]


@pytest.fixture(scope="module")
def folders(method_run, tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    for method in ("CTRL", "MSD"):
        publish(method_run(method), root / method)
    return [str(root / method) for method in ("CTRL", "MSD")]


def test_they_are_timed_by_the_names_of_their_folders(folders, capsys):
    assert main(["latency", *folders, "--baseline=MSD", "--out=times.json", *FLAGS]) == 0
    assert "2 batches of 16 rows, 1 rounds" in capsys.readouterr().out
    table = json.loads(Path("times.json").read_text())
    assert [line["run"] for line in table] == ["CTRL", "MSD"]
    assert table[0]["ratio"] > 0
    assert table[1]["ratio"] is None  # the baseline


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}"], "is a published model, which has no test rows, so it cannot be timed next to runs"),
        (["--baseline=CTRLL"], "--baseline must be one of CTRL, MSD, got 'CTRLL'; did you mean CTRL?"),
        (["MSD={again}"], "two models have the name 'MSD'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(arguments, message, folders, method_run, capsys):
    known = {"run": method_run("CTRL"), "again": folders[0]}
    assert main(["latency", *folders, *(text.format(**known) for text in arguments), *FLAGS]) == 2
    assert message in capsys.readouterr().err

"""The page about new rows every day: its script, its commands and its loop, as they are written."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.run_folder import find_runs
from tests.documentation.markdown import ROOT, blocks

PAGE = ROOT / "docs" / "daily.md"


@pytest.fixture
def root():
    """A working folder like the root of the repository."""
    shutil.copytree(ROOT / "dataset_atomic", "dataset_atomic")
    shutil.copytree(ROOT / "props", "props")
    script, loop = blocks(PAGE, "python")
    Path("make_days.py").write_text(script, encoding="utf-8")
    Path("loop.py").write_text(loop, encoding="utf-8")
    command = Path("bin") / "recbole-cp"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > words\n')
    command.chmod(0o755)


def shell(line):
    """Runs a command line of the page in a shell, and what it calls ``recbole-cp`` with in this process."""
    path = f"{Path('bin').resolve()}:{os.environ['PATH']}"
    line = re.sub(r"^python ", f"{sys.executable} ", line)
    subprocess.run(["bash", "-ec", line], env=os.environ | {"PATH": path}, check=True)
    if line.startswith("recbole-cp "):
        assert main(Path("words").read_text().split("\0")[:-1]) == 0


def finished():
    """The finished runs, oldest first; their dates have no fractions of a second."""
    return sorted(find_runs(Path("saved")), key=lambda run: run.checkpoint.stat().st_mtime_ns)


def settings():
    return [run.info["settings"] for run in finished()]


def test_the_loop_continues_from_one_day_to_the_next(root):
    runpy.run_path("make_days.py")
    runpy.run_path("loop.py")
    runs = settings()
    assert [run["dataset"] for run in runs] == ["day1", "day2", "day3", "day4"]
    assert runs[0]["warm_start"] is None
    oldest = [str(run.checkpoint) for run in finished()]
    assert [run["warm_start"] for run in runs[1:]] == oldest[:3]


@pytest.mark.slow
def test_every_command_does_what_the_page_says(root):
    for block in blocks(PAGE, ""):
        for line in block.replace("\\\n", "").splitlines():
            shell(line)
    assert [run["dataset"] for run in settings()] == ["day1", "day2", "day3", "day2"]
    tomorrow = pd.read_csv("days/day3/tomorrow.csv")
    assert len(pd.read_csv("scores.csv")) == len(tomorrow)

"""The tutorial, every command as it is written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from recbole_clickprompt.__main__ import main
from tests.documentation.markdown import ROOT, blocks

PAGE = ROOT / "docs" / "tutorial.md"


def lines():
    """Command lines of the page, in order."""
    return [line for text in blocks(PAGE, "") for line in text.replace("\\\n", " ").splitlines()]


def run(line):
    """The exit code of a command line; ``*`` stands for file names, as in a shell."""
    words = shlex.split(line)
    if words[0] == "recbole-cp":
        names = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words[1:]]
        return main([name for group in names for name in group])
    line = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", line)
    return subprocess.run(["bash", "-c", line], env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=False).returncode


@pytest.mark.slow
def test_every_command_does_what_the_page_says(capfd):
    Path("make_table.py").write_text(blocks(PAGE, "python")[0], encoding="utf-8")
    commands = lines()
    refused = next(line for line in commands if line.startswith("recbole-cp from-table"))
    for line in commands:
        assert run(line) == (2 if line is refused else 0), line
        printed = capfd.readouterr()
        if line is refused:
            message = " ".join(blocks(PAGE, "text")[0].split())
            assert message in " ".join(printed.err.split())
        if line.startswith("python served"):
            scores = [float(score) for score in printed.out.split()]
    assert scores == pytest.approx(pd.read_csv("scores.csv")["score"].tolist(), abs=1e-6)
    assert len(set(scores)) == 3  # a click of a new customer changes the score

"""Half a minute of the fuzzer; ``make fuzz`` runs thousands of mutations."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.fuzz.cases import CASES

MUTATIONS, SEED = 55, 2024  # fixed: a test must not fail by chance


@pytest.mark.slow
def test_mutated_inputs_give_their_result_or_one_line_of_error(tmp_path):
    # In a new process: the fuzzer forks, and polars cannot be used in a fork of a process that has used it
    fuzzer = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.fuzz", f"--count={MUTATIONS}", f"--seed={SEED}", "--jobs=1",
         f"--out={tmp_path / 'failed'}"],
        cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert fuzzer.returncode == 0, fuzzer.stdout + fuzzer.stderr
    assert f"\n{MUTATIONS:,} mutations, seed {SEED}" in fuzzer.stdout
    lines = fuzzer.stdout.splitlines()
    assert [case.name for case in CASES if not any(line.startswith(case.name) for line in lines)] == []

"""Same seed, same result, bit for bit, whichever process computes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_clickprompt.trainer.pretrained_checkpoint import read_checksum
from tests.conftest import SHORT
from tests.forked import run
from tests.trainer.whole_run import RUN, differing, in_child, whole_run

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys, torch, recbole_clickprompt
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from tests.trainer.whole_run import whole_run
settings, answer = json.loads(sys.argv.pop()), sys.argv.pop()
torch.set_num_threads(1)
config = Config("ClickPrompt", "tiny", None, settings)
torch.save(whole_run(config, data_preparation(config, create_dataset(config))), answer)
"""


@pytest.mark.slow
def test_fresh_processes_with_the_same_seed_give_the_same_result(small):
    settings = {**small, **RUN, **SHORT}

    def program(number):
        return ["-c", CODE, f"answer{number}", json.dumps({**settings, "checkpoint_dir": f"saved{number}"})]

    done = run(program(1))  # hashes texts in another way
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "PYTHONHASHSEED": "2", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", *program(2)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(f"answer{number}") for number in (1, 2))
    assert differing(first, second) == []
    sums = [read_checksum(path) for path in sorted(Path().glob("saved*/*-pretrained-*.safetensors"))]
    assert len(sums) == 2
    assert sums[0] == sums[1]


def test_on_a_cpu_reproducibility_changes_nothing_and_the_seed_does(make_config, make_data):
    settings = {**RUN, "model": "ClickPromptNoPLM", "train_stage": "finetune"}
    data = make_data(make_config(**settings))
    for name, more in {"usual": {}, "fast": {"reproducibility": False}, "other": {"seed": 1}}.items():
        assert in_child(lambda more=more: whole_run(make_config(**settings, **more), data), Path(name)) == 0
    usual, fast, other = (torch.load(name) for name in ("usual", "fast", "other"))
    assert differing(usual, fast) == []
    assert "best" in json.dumps(differing(usual, other))

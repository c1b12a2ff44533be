"""A command prints no warnings about code that is not the user's."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_run_prints_no_warnings_of_libraries():
    arguments = ["--model=DCNV2", "--dataset=tiny", f"--data_path={ROOT / 'dataset_atomic'}", "--epochs=1"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-m", "recbole_clickprompt", "run", *arguments, "--gpu_id=", "--embedding_size=4"],
        capture_output=True,
        text=True,
        env=clean,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr + done.stdout

"""What a run prints: no warnings about code that is not the user's, and a summary instead of all settings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Screen and log file of a run whose output is not a terminal."""
    folder = tmp_path_factory.mktemp("run")
    arguments = ["--model=DCNV2", "--dataset=tiny", f"--data_path={ROOT / 'dataset_atomic'}", "--epochs=1"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-m", "recbole_clickprompt", "run", *arguments, "--gpu_id=", "--embedding_size=4"],
        capture_output=True,
        text=True,
        env=clean,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    (file,) = (folder / "log").rglob("*.log")
    return done.stderr + done.stdout, file


def test_a_run_prints_no_warnings_of_libraries(printed):
    assert "Warning" not in printed[0]


def test_without_a_terminal_there_are_no_progress_bars_and_colors(printed):
    screen, _ = printed
    assert "\x1b" not in screen
    assert "\r" not in screen
    assert "100%" not in screen


def test_the_screen_shows_a_summary_of_ten_lines_and_the_result(printed):
    screen, file = printed
    first, *others = screen.splitlines()[:10]
    assert first.endswith("DCNV2 on tiny")
    assert others[-1].startswith("  all settings ")
    assert all(re.match(r"  [a-z ]{15} \S", line) for line in others)
    assert "embedding_size=4" in screen
    assert str(file.relative_to(file.parents[2])) in screen
    assert "test result" in screen
    assert len(screen.splitlines()) < 40  # ten of settings, ten of the data, then epochs and results


def test_the_log_file_has_all_settings_the_data_set_and_the_model(printed):
    content = printed[1].read_text(encoding="utf-8")
    for text in ("weight_decay = ", "The number of users: 61", "(predict_layer): Linear(", "FLOPs", "test result"):
        assert text in content

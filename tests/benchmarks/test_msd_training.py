"""The benchmark of MSD's training step, on ``tiny``."""

import json
import re

from benchmarks import msd_training
from tests.methods.msd.students import SETTINGS, save_student


def test_it_compares_a_step_with_reading_every_text_of_every_row(tmp_path, capsys):
    student = save_student(tmp_path / "student")
    left_out = ("plm", "dataset", "micro_batch_size", "train_batch_size")
    settings = {name: value for name, value in SETTINGS.items() if name not in left_out} | {
        "student": str(student)
    }
    flags = [f"--{name}={json.dumps(value)}" for name, value in settings.items()]
    assert msd_training.main(["--dataset=tiny", "--batch=64", "--slice=4", "--rounds=1", *flags]) == 0
    cells = dict(line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if " | " in line)
    assert cells["step of 64 rows"].endswith(" ms")
    assert "plain step, extrapolated from a slice of 4 rows" in cells
    assert re.fullmatch(r"\d+\.\dx", cells["speed compared with the plain step"])
    assert msd_training.main(["--rounds=0"]) == 2
    assert "--rounds must be 1 or more, got 0" in capsys.readouterr().err

"""The benchmarks of MSD on a GPU and in scoring, on ``tiny``."""

import json

import pytest
import torch

from benchmarks import msd_gpu, msd_scoring
from tests.methods.msd.students import SETTINGS, save_student

LEFT_OUT = (
    "plm",
    "dataset",
    "micro_batch_size",
    "train_batch_size",
    "student_num_layers",
    "gpu_id",
    "knowledge",
    "student",
)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(save_student(tmp_path_factory.mktemp("benchmark") / "student"))


def flags():
    return [f"--{name}={json.dumps(value)}" for name, value in SETTINGS.items() if name not in LEFT_OUT]


def cells(out):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if "|" in line][2:]


def test_a_table_of_float32_and_bf16(student, capsys):
    options = ["--layers=2", "--answers=4", "--batch=32", "--rounds=1", "--device=cpu"]
    given = ["--dataset=tiny", "--knowledge=tiny-items", f"--student={student}", *options]
    assert msd_gpu.main([*given, *flags()]) == 0
    table = cells(capsys.readouterr().out)
    assert [row[:2] for row in table] == [
        ["distillation", "tokens"], ["encoding of items", "texts"], ["training with LoRA", "rows"],
    ]  # fmt: skip
    for _, _, plain, amp, ratio, difference in table:
        assert float(plain.replace(",", "")) > 0
        assert float(amp.replace(",", "")) > 0
        assert ratio.endswith("x")
        assert 0 < float(difference) < 0.1  # rounding to bf16, and no more


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys):
    assert msd_gpu.main(["--rounds=1"]) == 2
    assert "torch finds no GPU here; give --device cpu" in capsys.readouterr().err


def test_scoring_is_compared_with_din(student, capsys):
    assert msd_scoring.main([
        "--dataset=tiny", "--batches", "16", "32", "--rounds=1", f"--student={student}", "--student_num_layers=2",
        "--lora_layers=1", "--history_length=4", f"--data_path={SETTINGS['data_path']}",
    ]) == 0  # fmt: skip
    table = cells(capsys.readouterr().out)
    assert [row[0] for row in table] == ["16", "32"]
    assert all(float(cell) > 0 for row in table for cell in row)

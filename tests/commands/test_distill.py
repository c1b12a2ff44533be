"""``recbole-cp distill``."""

import json
import math
from pathlib import Path

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.methods.msd.quality import (
    Quality,
    quality_beside,
    quality_text,
    read_quality,
    write_quality,
)
from tests.methods.msd.distilled_method import SETTINGS, student_folder

QUICK = {**SETTINGS, "distill_evaluated": 4, "distill_answer_length": 40, "distill_epochs": 1}


def distill(**settings):
    chosen = {**QUICK, "student": student_folder(), **settings}
    flags = [f"--{name}={json.dumps(value)}" for name, value in chosen.items()]
    return main(["distill", "--model=Distilled", "--dataset=tiny", *flags])


def test_it_prints_losses_and_f1_and_reuses_the_result(capsys):
    assert distill() == 0
    first = capsys.readouterr().out
    assert "epoch 0: loss " in first
    assert "valid loss" in first
    assert "4 answers written" in first
    assert "| all | 0.8 | 0." in first
    assert "| implicit | exact |" in first
    (student,) = Path("saved").glob("tiny-student-*.safetensors")
    assert f"student: {student}" in first
    quality = json.loads(quality_beside(student).read_text())
    assert quality["answers"] == 4
    assert {"micro", "micro_chance", "micro_above_chance", "macro", "macro_chance", "macro_above_chance"} == set(
        quality["f1"]["0.8"]["explicit"]
    )
    assert set(quality["f1"]) == {"0.7", "0.8", "0.9", "exact"}
    before = student.stat().st_mtime_ns, quality_beside(student).stat().st_mtime_ns
    assert distill() == 0
    again = capsys.readouterr().out
    assert "epoch 0: loss " in again
    assert again.partition("loss of held-out answers")[2] == first.partition("loss of held-out answers")[2]
    assert (student.stat().st_mtime_ns, quality_beside(student).stat().st_mtime_ns) == before


def test_other_ways_to_measure_do_not_train_again(capsys):
    assert distill() == 0
    (student,) = Path("saved").glob("tiny-student-*.safetensors")
    before = student.stat().st_mtime_ns
    capsys.readouterr()
    assert distill(distill_evaluated=2, phrase_threshold=0.6) == 0
    out = capsys.readouterr().out
    assert "2 answers written" in out
    assert "| all | 0.6 |" in out
    assert distill(phrase_references="tiny-items") == 0
    assert read_quality(quality_beside(student)).references == "tiny-items"
    assert student.stat().st_mtime_ns == before
    quality_beside(student).unlink()
    assert distill() == 0
    Path("none.jsonl").write_text('{"item_id": "x", "reasoning": "r", "explicit": ["a"], "implicit": ["b"]}\n')
    capsys.readouterr()
    assert distill(phrase_references="none.jsonl") == 2
    assert "phrase_references) has no answer for 4 of 4 held-out keys" in capsys.readouterr().err


def test_the_undistilled_student_can_be_measured(capsys):
    assert distill(distill_epochs=0, distill_evaluated=2) == 0
    out = capsys.readouterr().out
    assert "epoch 0: loss" not in out
    assert "2 answers written" in out
    assert distill(distill_epochs=1, distill_evaluated=0) == 0
    assert "answers written" not in capsys.readouterr().out


def test_bad_input_ends_with_exit_code_2(capsys):
    def refused(message, **settings):
        assert distill(**settings) == 2
        assert message in capsys.readouterr().err

    refused(
        "distill has nothing to train with knowledge: null; set it to a list of files of answers",
        knowledge=None,
    )
    refused("did you mean tiny-items", knowledge=["tiny-itms"])
    refused("distill_patience must be", distill_patience=0)
    refused("there is no such folder", student="./nowhere")
    assert main(["distill", "--model=PTab", "--dataset=tiny"]) == 2
    assert "PTab has no stage distill; leave out --model" in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        main(["distill", "--help"])
    assert end.value.code == 0
    assert "Distill a teacher's answers" in capsys.readouterr().out


def test_the_file_of_a_quality_survives_missing_numbers(tmp_path):
    values = {
        f"{mean}{part}": math.nan if part else 0.5
        for mean in ("micro", "macro")
        for part in ("", "_chance", "_above_chance")
    }
    kinds = {kind: dict(values) for kind in ("all", "explicit", "implicit")}
    quality = Quality(1.5, answers=1, parse_rate=1.0, ended_rate=1.0, answer_tokens=3.0, f1={"0.8": kinds})
    path = tmp_path / "a.f1.json"
    write_quality(path, quality)
    json.loads(path.read_text(), parse_constant=pytest.fail)
    again = read_quality(path)
    assert math.isnan(again.metrics()["phrase_f1_chance"])
    assert again.metrics()["phrase_f1"] == 0.5
    assert "| all | 0.8 | 0.500 |  |  |" in quality_text(again)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"f1": {}}', '{"distill_valid_loss": "x", "f1": {}, "references": null}']
)
def test_a_damaged_file_says_what_to_do(tmp_path, content):
    path = tmp_path / "a.f1.json"
    path.write_text(content)
    with pytest.raises(DataError, match="delete it, and recbole-cp distill writes it again"):
        read_quality(path)

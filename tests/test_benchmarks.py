"""The benchmarks, at a size that takes a moment: what they measure is what they say."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks import goodreads, kdd2012, pretraining_length
from benchmarks.measure import measured
from benchmarks.rowwise import step_seconds
from recbole_clickprompt.data.convert.catalog import prepare
from recbole_clickprompt.trainer.stage import TrainingStage

ROOT = Path(__file__).parents[1]


def test_generated_goodreads_files_have_the_publishers_form(tmp_path):
    goodreads.generate(tmp_path / "raw", 6000)
    counts = prepare("goodreads", tmp_path / "raw", tmp_path / "out")
    assert counts.raw_rows == 6000
    assert 1500 < counts.rows < 3000  # 45 % have a rating, and few of them are outside the core
    assert not any("are not in" in note or "decoded" in note for note in counts.notes)
    header, first = (tmp_path / "out" / "goodreads" / "goodreads.item").read_text().splitlines()[:2]
    values = dict(zip((name.partition(":")[0] for name in header.split("\t")), first.split("\t"), strict=True))
    assert values["author_name"].startswith("Ann Author ")
    assert values["media_type"] == "book"


def test_generated_files_of_kdd_cup_2012_have_the_publishers_form(tmp_path):
    kdd2012.generate(tmp_path / "raw", 20_000)
    counts = prepare("kdd2012", tmp_path / "raw", tmp_path / "out")
    assert counts.raw_rows == 20_000
    assert 1500 < counts.rows < 2200
    assert not any("are not in" in note or "more lines" in note for note in counts.notes)


PEAKS = """
import sys
from benchmarks.measure import measured
for code in ("pass", "b'x' * 300_000_000"):
    print(measured([sys.executable, "-c", code]).peak_bytes)
"""


def test_the_peak_is_that_of_the_child_alone():
    # from a small process, as a child's memory begins with that of its parent
    run = subprocess.run([sys.executable, "-c", PEAKS], cwd=ROOT, capture_output=True, text=True, check=True)
    without, with_it = map(int, run.stdout.split())
    assert with_it - without == pytest.approx(300e6, rel=0.05)


def test_a_command_that_fails_ends_the_measurement():
    with pytest.raises(SystemExit, match="ended with 3"):
        measured([sys.executable, "-c", "raise SystemExit(3)"])


def test_steps_of_all_rows_and_row_wise_ones_take_turns(make_config, make_data, monkeypatch):
    def config_of(model, **more):
        settings = {"lazy_embedding_min_rows": 50, "train_batch_size": 600, **more}
        return make_config(model, train_stage="finetune", **settings)

    train_batch, steps = TrainingStage.train_batch, []

    def noting(stage, interaction):
        steps.append(stage.optimizer.param_groups[0]["rowwise"])
        return train_batch(stage, interaction)

    monkeypatch.setattr(TrainingStage, "train_batch", noting)
    whole, rowwise = step_seconds(config_of, make_data(config_of("ClickPromptNoPLM"))[0], rounds=1)
    assert steps == 2 * [False, *10 * [True]]
    assert whole > 0
    assert rowwise > 0


def test_longer_pretraining_is_measured_beside_none_and_goes_on_where_it_was(small, monkeypatch, capsys):
    grid = {"settings": {**small, "dataset": "tiny"}, "runs": {"ours": {"model": "ClickPromptNoPLM"}}}
    Path("grid.yaml").write_text(yaml.safe_dump(grid))
    command = ["", "grid.yaml", "--run=ours", "--passes", "0", "1", "--seeds", "1", "--set", "epochs=1"]
    monkeypatch.setattr(sys, "argv", [*command])
    pretraining_length.main()
    table = pd.read_csv("results/pretraining-length.csv")
    assert table["passes"].tolist() == [0, 1]
    assert table["mlm_loss"].isna().tolist() == [True, False]
    assert table.drop(columns=["mlm_accuracy", "digest"]).iloc[1].between(0, 20).all()
    assert "PA-MLM" in Path("results/pretraining-length.html").read_text()
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]) == 4

    monkeypatch.setattr(pretraining_length, "_measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(sys, "argv", [*command])
    pretraining_length.main()
    capsys.readouterr()

    other = table.iloc[0].drop(["passes", "seed", "digest"]).to_dict()  # other settings, other rows
    monkeypatch.setattr(pretraining_length, "_measure", lambda *_: {**other, "test_auc": 0.875})
    monkeypatch.setattr(sys, "argv", [*command[:-1], "epochs=2"])
    pretraining_length.main()
    assert capsys.readouterr().out.count("0.8750 |") == 2
    assert len(pd.read_csv("results/pretraining-length.csv")) == 4

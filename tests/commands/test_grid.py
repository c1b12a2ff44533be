"""A grid on ``tiny``."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.commands import grid


@pytest.fixture
def file(small):
    content = {
        "settings": {**small, "dataset": "tiny", "epochs": 1},
        "runs": {
            "plain": {"model": "ClickPromptNoPLM", "train_stage": "finetune"},
            "no PLM": {"model": "ClickPromptNoPLM"},
            "with PLM": {"model": "ClickPrompt"},
        },
        "vary": {"backbone": ["DNN", "AutoInt"]},
        "seeds": [1, 2],
        "baseline": "plain",
    }
    Path("compare.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return content


def test_a_grid_runs_every_cell_shares_pretraining_and_goes_on_where_it_stopped(file, monkeypatch, capsys):
    runs, original = [], grid.run_recbole

    def run(config_dict):
        if len(runs) == 7 and not Path("go on").exists():
            raise KeyboardInterrupt
        runs.append(config_dict)
        return original(config_dict=config_dict)

    monkeypatch.setattr(grid, "run_recbole", run)
    with pytest.raises(KeyboardInterrupt):
        main(["grid", "compare.yaml"])
    assert len(pd.read_csv("results/compare.csv")) == 7
    Path("go on").touch()
    assert main(["grid", "compare.yaml"]) == 0
    assert len(runs) == 12
    table = pd.read_csv("results/compare.csv")
    assert len(table) == 12
    assert table.groupby(["run", "backbone"]).size().unique().tolist() == [2]
    assert len(list(Path("saved").glob("*.safetensors"))) == 4  # a backbone and seed each
    out = capsys.readouterr().out
    assert "| plain | DNN | 2 | 0." in out
    assert out.count("| with PLM |") == 2
    assert " % | " in out
    # once more: nothing is left to run
    assert main(["grid", "compare.yaml"]) == 0
    assert len(runs) == 12


def test_results_can_be_parquet(file):
    pytest.importorskip("pyarrow")
    runs = {"plain": {"model": "DNN"}}
    Path("one.yaml").write_text(
        yaml.safe_dump({"settings": file["settings"], "runs": runs, "results": "r/one.parquet"})
    )
    assert main(["grid", "one.yaml"]) == 0
    table = pd.read_parquet("r/one.parquet")
    assert table["run"].tolist() == ["plain"]
    assert table["seed"].tolist() == [2020]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seedz": [1]}, "seedz is no part of a grid; did you mean seeds?"),
        ({"runs": {}}, "runs is missing"),
        ({"baseline": "other"}, "baseline must be one of plain, no PLM, with PLM, got 'other'"),
        ({"vary": {"backbone": "DNN"}}, "vary.backbone must be a list of values, got 'DNN'"),
        ({"seeds": 3}, "seeds must be a list, got 3"),
        ({"runs": {"x": {"model": "DNM"}}, "baseline": None}, "did you mean DNN?"),
        ({"vary": {"num_promts": [1]}}, "did you mean num_prompts?"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_runs(file, change, message, capsys):
    Path("wrong.yaml").write_text(yaml.safe_dump({**file, **change}, sort_keys=False))
    assert main(["grid", "wrong.yaml"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_missing_grid_file_and_loose_settings_are_refused(capsys):
    assert main(["grid", "nowhere.yaml"]) == 2
    assert "there is no grid file nowhere.yaml" in capsys.readouterr().err
    assert main(["grid", "demo.yaml", "--epochs=1"]) == 2
    assert "grid takes no setting but those of its file" in capsys.readouterr().err

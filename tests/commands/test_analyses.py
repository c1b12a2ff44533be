"""The commands over finished runs, on ``tiny``."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.baselines import BASELINES
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.evaluation.run_tables import write_counts, write_predictions
from recbole_clickprompt.serving.load import load_trained


@pytest.fixture
def runs(trained_runs):
    return [f"{name}={path}" for name, path in trained_runs.items()]


@pytest.fixture
def own_runs(trained_runs, tmp_path):
    """Copies that a test may change."""
    copies = {}
    for name, path in trained_runs.items():
        shutil.copytree(path.with_suffix(""), tmp_path / "copy" / name)
        copies[name] = tmp_path / "copy" / name
    return copies


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_metrics_are_those_of_the_run(runs, trained_runs, capsys):
    assert main(["metrics", *runs, "--samples=50", "--out=new/m.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert cells(lines[0])[:3] == ["run", "rows", "AUC [95 %]"]
    table = json.loads(Path("new/m.json").read_text())
    names = [*trained_runs, *BASELINES]
    assert [cells(line)[0] for line in lines[2:8]] == [line["run"] for line in table] == names
    for line, path in zip(table, trained_runs.values(), strict=False):
        result = open_run(path).info["test_result"]
        assert line["auc"] == pytest.approx(result["auc"], abs=1e-6)
        assert line["logloss"] == pytest.approx(result["logloss"], abs=1e-6)
        assert line["auc_low"] < line["auc"] < line["auc_high"]
    baselines = open_run(trained_runs["plain"]).info["baselines"]
    for line, metrics in zip(table[3:], baselines.values(), strict=True):
        assert {name: line[name] for name in ("auc", "logloss", "gauc")} == pytest.approx(
            metrics["test"], abs=1e-6
        )


def test_a_run_that_a_baseline_beats_is_named_and_a_baseline_can_be_compared_with(trained_runs, own_runs, capsys):
    table = open_run(own_runs["plain"]).predictions()
    worse = table.assign(score=1 - table["label"].astype(float))
    write_predictions(own_runs["plain"], worse)
    runs = [f"better={trained_runs['with']}", f"worse={own_runs['plain']}"]
    assert main(["metrics", *runs, "--samples=20", "--baseline=logistic regression"]) == 0
    first, second, note, *sentences = capsys.readouterr().out.strip().split("\n\n")
    assert [cells(line)[0] for line in first.splitlines()[2:]] == ["better", "worse", *BASELINES]
    assert [cells(line)[0] for line in second.splitlines()[2:]] == ["better", "worse", "item mean", "user mean"]
    assert "do not include the variance between seeds" in note
    valid = {
        name: splits["valid"]["auc"] for name, splits in open_run(own_runs["plain"]).info["baselines"].items()
    }
    best = max(valid, key=valid.get)
    assert sentences[-1] == (
        f"{best.capitalize()} beats worse on the validation rows: AUC {valid[best]:.4f} against 0.0000."
    )


def test_metrics_of_the_validation_rows_against_a_baseline_named_by_its_file(runs, trained_runs, capsys):
    assert main(["metrics", *runs, "--split=valid", "--samples=50", f"--baseline={trained_runs['plain']}"]) == 0
    first, second, *_ = capsys.readouterr().out.split("\n\n")
    assert cells(first.splitlines()[0])[-2:] == ["relative AUC", "RelaImpr"]
    rows = [cells(line) for line in first.splitlines()[2:]]
    assert rows[2][-2:] == ["", ""]
    assert rows[0][-2].endswith(" %")
    assert [cells(line)[0] for line in second.splitlines()[2:]] == ["with", "without", *BASELINES]


def test_long_tail_holds_every_row_once(runs, capsys):
    assert main(["long-tail", *runs, "--tail=0.3", "--samples=20", "--out=t.csv"]) == 0
    table = pd.read_csv("t.csv")
    of_one = table[table["run"] == "with"].set_index("subset")["rows"]
    assert of_one.drop("all").sum() == of_one["all"] == 131
    assert of_one["tail user, tail item"] > 0
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert [cells(line)[0] for line in lines] == list(of_one.index)
    assert "without: AUC [95 %]" in header
    assert header.count("relative AUC") == 2


def test_long_tail_by_bins(runs, capsys):
    assert main(["long-tail", runs[0], "--bins=0,1,15,inf", "--samples=20", "--out=t.parquet"]) == 0
    rows = pd.read_parquet("t.parquet").set_index("subset")["rows"]
    for kind in ("user", "item"):
        assert sum(rows[name] for name in rows.index if name.startswith(kind)) == 131
    assert "| user with 0 training rows | 0 | 0 | 0 |  | no rows |" in capsys.readouterr().out


def grid_of(trained_runs, **changes):
    """A grid's table whose seeds are runs that are there."""
    cells = [("plain", 1, "plain"), ("plain", 2, "without"), ("ours", 1, "with"), ("ours", 2, "without")]
    rows = [
        {"run": run, "backbone": "DCNV2", "seed": seed, "checkpoint": str(trained_runs[name]), **changes}
        for run, seed, name in cells
    ]
    pd.DataFrame(rows).to_csv("grid.csv", index=False)
    return {(run, seed): open_run(trained_runs[name]).info["test_result"] for run, seed, name in cells}


def test_long_tail_over_the_seeds_of_a_grid(trained_runs, capsys):
    results = grid_of(trained_runs)
    assert main(["long-tail", "grid.csv", "--tail=0.3", "--baseline=plain", "--out=t.csv"]) == 0
    table = pd.read_csv("t.csv")
    whole = table[table["subset"] == "all"].set_index(["run", "seed"])
    for key, result in results.items():
        assert whole.loc[key, "auc"] == pytest.approx(result["auc"], abs=1e-6)
        assert whole.loc[key, "logloss"] == pytest.approx(result["logloss"], abs=1e-6)
    of_one = table[(table["run"] == "ours") & (table["seed"] == 1)].set_index("subset")["rows"]
    assert of_one.drop("all").sum() == of_one["all"] == 131
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert cells(header) == ["model", "subset", "backbone", "seeds", "AUC", "LogLoss", "relative AUC", "p"]
    assert [cells(line)[:4] for line in lines[-2:]] == [
        [run, "all (131 rows)", "DCNV2", "2"] for run in ("plain", "ours")
    ]
    mean = {run: (results[run, 1]["auc"] + results[run, 2]["auc"]) / 2 for run in ("plain", "ours")}
    assert cells(lines[-1])[4].startswith(f"{mean['ours']:.4f} ± ")
    assert cells(lines[-1])[6] == f"{100 * (mean['ours'] / mean['plain'] - 1):+.2f} %"


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, ["--baseline=q"], "--baseline must be one of plain, ours, got 'q'"),
        ({"checkpoint": None}, [], "run 'plain', seed 1, has no run folder"),
        ({"checkpoint": "saved/none.pth"}, [], "none does not exist"),
    ],
)
def test_a_grid_without_its_runs_is_told(trained_runs, capsys, changes, arguments, message):
    grid_of(trained_runs, **changes)
    assert main(["long-tail", "grid.csv", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([1, 1], "run plain, backbone DCNV2, seed 1 has 2 rows, but a seed may count only once"),
        ([1, 2], "run 'plain' has the same scores under seed 1 and seed 2: one run would count twice"),
    ],
)
def test_a_run_that_would_count_as_two_seeds_is_refused(own_runs, seeds, message, capsys):
    shutil.copytree(own_runs["plain"], own_runs["plain"].with_name("again"))
    rows = [
        {"run": "plain", "backbone": "DCNV2", "seed": seed, "checkpoint": str(own_runs["plain"].with_name(name))}
        for seed, name in zip(seeds, ("plain", "again"), strict=True)
    ]
    pd.DataFrame(rows).to_csv("grid.csv", index=False)
    assert main(["long-tail", "grid.csv", "--out=t.csv"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("t.csv").exists()


def test_a_repeated_row_of_a_grids_table_counts_once(trained_runs, capsys, caplog):
    grid_of(trained_runs)
    rows = pd.read_csv("grid.csv").assign(digest=[16 * letter for letter in "abcd"])
    rows.to_csv("grid.csv", index=False)
    assert main(["long-tail", "grid.csv", "--baseline=plain"]) == 0
    once = capsys.readouterr().out
    pd.concat([rows, rows.iloc[2:]]).to_csv("grid.csv", index=False)
    assert main(["long-tail", "grid.csv", "--baseline=plain"]) == 0
    assert capsys.readouterr().out == once
    assert "grid.csv: 2 rows repeat the digest of one above them" in caplog.text


def test_what_is_no_grids_table_is_told(capsys):
    assert main(["long-tail", "none.csv"]) == 2
    assert "there is no table of a grid none.csv" in capsys.readouterr().err
    pd.DataFrame({"a": [1]}).to_csv("other.csv", index=False)
    assert main(["long-tail", "other.csv"]) == 2
    assert "must have columns run, seed and checkpoint, got a" in capsys.readouterr().err
    Path("empty.csv").write_text("run,seed,checkpoint\n")
    assert main(["long-tail", "empty.csv"]) == 2
    assert "the table of the grid has no valid row" in capsys.readouterr().err


def test_latency_times_all_runs_on_the_same_rows(runs, capsys):
    sizes = ["--batch-size=32", "--batches=2", "--rounds=2", "--threads=1", "--device=cpu"]
    assert main(["latency", *runs, "--baseline=plain", *sizes, "--out=l.json"]) == 0
    out = capsys.readouterr().out
    assert "2 batches of 32 rows, 2 rounds, CPU, threads: 1" in out
    table = pd.read_json("l.json").set_index("run")
    assert table["timed"].to_dict() == {"with": 4, "without": 4, "plain": 4}
    assert list(table.index) == ["with", "without", "plain"]
    assert table["median_ms"].gt(0).all()
    assert pd.isna(table.loc["plain", "ratio"])
    assert table.loc["with", "ratio"] > 1  # it computes the backbone and a PLM


def test_runs_without_a_name_are_called_by_model_seed_and_file(own_runs, capsys, caplog):
    again = own_runs["with"].with_name("again")
    other = own_runs["with"].with_name("other-seed")
    for copy in (again, other):
        shutil.copytree(own_runs["with"], copy)
    info = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**info, "seed": 7}))
    assert main(["metrics", *map(str, (own_runs["plain"], own_runs["with"], again, other)), "--samples=2"]) == 0
    assert [cells(line)[0] for line in capsys.readouterr().out.splitlines()[2:6]] == [
        "DCNV2",
        "ClickPrompt with PLM (DCNV2), seed 2020, with",
        "ClickPrompt with PLM (DCNV2), seed 2020, again",
        "ClickPrompt with PLM (DCNV2), seed 7",
    ]
    run = "ClickPrompt with PLM (DCNV2), seed 2020"
    told = [line for line in caplog.messages if "copies" in line]
    assert told == [f"{run}, with and {run}, again are copies of one run: their run.json files are equal"]


def test_a_table_of_predictions_is_all_that_metrics_read(own_runs):
    alone = Path("alone") / own_runs["plain"].name
    alone.mkdir(parents=True)
    for file in ("predictions.parquet", "run.json"):
        shutil.copy(own_runs["plain"] / file, alone)
    assert main(["metrics", str(alone), "--samples=2"]) == 0


BAD = {
    "no such run": (["metrics", "saved/none.pth"], "does not exist; give the .pth file"),
    "unknown option": (["metrics", "{plain}", "--sample=3"], "unrecognized argument --sample=3"),
    "unknown baseline": (
        ["metrics", "p={plain}", "--baseline=q"],
        "--baseline must be one of p, item mean, user mean, logistic regression, got 'q'",
    ),
    "the same run twice": (["long-tail", "a={plain}", "b={plain}"], "is given twice"),
    "the same name twice": (["metrics", "a={plain}", "a={with}"], "two runs have the name 'a'"),
    "a table of another kind": (["metrics", "{plain}", "--out=m.xlsx"], "must end in one of .csv"),
    "no draws": (["metrics", "{plain}", "--samples=0"], "--samples must be 1 or more"),
    "impossible confidence": (["metrics", "{plain}", "--confidence=95"], "--confidence must be between 0 and 1"),
    "negative seed": (["metrics", "{plain}", "--seed=-1"], "--seed must be 0 or more"),
    "impossible tail": (["long-tail", "{plain}", "--tail=10"], "--tail must be between 0 and 1"),
    "bins in words": (["long-tail", "{plain}", "--bins=few,many"], "--bins must be numbers such as"),
    "broken bins": (["long-tail", "{plain}", "--bins=0,1.5"], "--bins must be numbers of training rows"),
    "falling bins": (["long-tail", "{plain}", "--bins=5,1"], "two or more increasing numbers"),
    "a batch of more rows than there are": (
        ["latency", "{plain}", "--batch-size=999"],
        "--batch-size=N times smaller ones",
    ),
    "no batches": (["latency", "{plain}", "--batches=0"], "--batches must be 1 or more"),
    "no threads": (["latency", "{plain}", "--threads=0"], "--threads must be 1 or more"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_exit_code_2(trained_runs, capsys, arguments, message):
    assert main([argument.format(**trained_runs) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_gpu_that_is_not_there_is_told(trained_runs, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["latency", str(trained_runs["plain"]), "--device=cuda"]) == 2
    assert "torch finds no GPU here" in capsys.readouterr().err


def test_runs_on_other_rows_are_not_compared(own_runs, capsys):
    run = open_run(own_runs["with"])
    write_predictions(run.folder, run.predictions()[:-1])
    both = [str(own_runs[name]) for name in ("plain", "with")]
    assert main(["metrics", *both, f"--baseline={both[0]}"]) == 2
    assert "131 rows and 130" in capsys.readouterr().err
    write_counts(run.folder, {"user": pd.Series({"u1": 1}), "item": pd.Series({"i1": 1})})
    assert main(["long-tail", *both]) == 2
    assert "were trained on different rows" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["folder"], ["folder", "pth"], ["pth"]])
def test_renamed_runs_are_found_or_the_error_says_what_to_rename(names, own_runs, trained_runs, capsys):
    folder = open_run(own_runs["plain"]).folder
    checkpoint = Path(shutil.copy(trained_runs["plain"], open_run(folder).checkpoint))
    if "folder" in names:
        folder = folder.rename(folder.with_name("renamed"))
    if "pth" in names:
        checkpoint = checkpoint.rename(checkpoint.with_name("renamed.pth"))
    if "folder" in names:
        assert open_run(folder).checkpoint == checkpoint
        assert main(["latency", str(folder), "--rounds=1", "--batches=1"]) == 0
        assert load_trained(folder).preprocessing is not None
        return
    for command in ("latency", "attention", "report"):
        assert main([command, str(checkpoint)]) == 2
        told = "renamed does not exist: if renamed.pth was renamed, rename the folder of its run likewise"
        assert told in capsys.readouterr().err


def test_a_damaged_or_missing_checkpoint_is_told(own_runs, capsys):
    folder = own_runs["plain"]
    checkpoint = open_run(folder).checkpoint
    assert main(["latency", str(folder)]) == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    checkpoint.write_bytes(b"no zip")
    assert main(["latency", str(folder)]) == 2
    assert "expected a model saved by RecBole or ClickPrompt" in capsys.readouterr().err

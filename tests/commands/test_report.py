"""``attention`` and ``report`` over trained runs on ``tiny``."""

import gc
import weakref
from pathlib import Path

import pandas as pd
import pytest

import recbole_clickprompt.host.restore
from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.tables import write_table


@pytest.fixture
def runs(trained_runs):
    return [f"{name}={path}" for name, path in trained_runs.items()]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_attention_is_printed_and_written_for_the_rows_asked_for(trained_runs, capsys):
    run = str(trained_runs["with"].with_suffix(""))
    assert main(["attention", run, "--row=4", "--row=2", "--split=valid", "--out=a.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert cells(lines[0]) == [
        "row", "user", "item", "masked field", "tokens", "prompt 1", "prompt 2", "to prompts"
    ]  # fmt: skip
    table = pd.read_csv("a.csv")
    assert table["row"].unique().tolist() == [4, 2]
    assert len(lines) == 2 + len(table)
    predicted = pd.read_parquet(trained_runs["with"].with_suffix("") / "predictions.parquet")
    row = predicted[predicted["split"] == "valid"].iloc[4]
    assert table.loc[0, ["user", "item", "field"]].tolist() == [row["user"], row["item"], "user ID"]
    assert cells(lines[2])[5] == f"{table.loc[0, 'prompt_1']:.4f}"
    assert table[["prompt_1", "prompt_2"]].sum(axis=1).tolist() == pytest.approx([1.0] * len(table))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{without}"],
            "attention needs a run whose model reads prompts, and ClickPrompt without PLM (DCNV2) reads none",
        ),
        (["{with}", "--row=131"], "there is no row 131: rows count from 0 to 130"),
        (["{with}", "--rows=0"], "--rows must be 1 or more, got 0"),
        (["{with}", "--num_prompts=2"], "unrecognized argument --num_prompts=2"),
        (["nowhere"], "nowhere does not exist; give the .pth file"),
    ],
)
def test_attention_says_what_it_cannot_show(trained_runs, capsys, arguments, message):
    assert main(["attention", *(argument.format(**trained_runs) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_a_report_has_all_that_is_asked_for(runs, capsys):
    assert (
        main(
            [
                "report",
                *runs,
                "-o",
                "new/page.html",
                "--samples=20",
                "--attention=1",
                "--latency",
                "--baseline=plain",
            ]
        )
        == 0
    )
    assert capsys.readouterr().out.startswith("new/page.html: 3 runs, ")
    page = Path("new/page.html").read_text(encoding="utf-8")
    assert [file.name for file in Path("new").iterdir()] == ["page.html"]
    assert "1 batches of 128 rows, 5 rounds, CPU, threads: 1" in page
    assert "Test row 0: user" in page
    assert "Not measured" not in page
    assert '<th scope="row">logistic regression</th>' in page
    assert "do not include the variance between seeds" in page
    assert "Not computed" not in page
    assert "are against plain." in page
    for stage in ("Pretraining: MLM loss", "Finetuning: validation AUC"):
        assert f"<h3>{stage}</h3>" in page


@pytest.fixture
def restores(monkeypatch):
    """The names of restored checkpoints; fails if a data set is still in memory when the next run is restored."""
    original, restored, data_sets = recbole_clickprompt.host.restore.restore, [], []

    def restore(checkpoint, **options):
        gc.collect()
        assert not any(data_set() is not None for data_set in data_sets)
        run = original(checkpoint, **options)
        restored.append(checkpoint.name)
        data_sets.append(weakref.ref(run.dataset))
        return run

    monkeypatch.setattr(recbole_clickprompt.host.restore, "restore", restore)
    return restored


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--latency", "--attention=1"], ["plain", "without", "with"]),
        (["--latency"], ["plain", "without", "with"]),
        (["--attention=1"], ["with"]),
        ([], []),
    ],
)
def test_a_report_restores_each_run_once_and_releases_its_data(trained_runs, runs, restores, arguments, names):
    assert main(["report", *runs, "--samples=2", *arguments]) == 0
    assert sorted(restores) == sorted(trained_runs[name].name for name in names)


def test_a_report_takes_latency_from_a_table(runs, capsys):
    pd.DataFrame({"run": ["plain", "with"], "median_ms": [1.25, 30.5], "p95_ms": [2.0, 33.0]}).to_csv("l.csv")
    assert main(["report", *runs, "--samples=20", "--latency=l.csv", "--baseline=without"]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "Milliseconds per batch: from l.csv." in page
    assert '<th scope="row">with</th><td>30.500</td><td>33.000</td>' in page
    assert "are against without." in page


@pytest.mark.parametrize("name", ["l.csv", "l.parquet", "l.json"])
def test_a_runs_name_that_looks_like_a_number_is_found_in_a_table_of_latency(runs, name):
    write_table(pd.DataFrame({"run": ["007"], "median_ms": [1.25], "p95_ms": [2.0]}), Path(name))
    run = runs[1].rpartition("=")[2]
    assert main(["report", f"007={run}", "--samples=20", f"--latency={name}"]) == 0
    assert '<th scope="row">007</th><td>1.250</td>' in Path("report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out=page.pdf"], "the page's file must end in .html, got page.pdf"),
        (["--samples=0"], "--samples must be 1 or more, got 0"),
        (["--attention=0"], "--attention must be 1 or more, got 0"),
        (["--latency=gone.csv"], "gone.csv is no table; recbole-cp latency --out writes one"),
        (["--latency=odd.csv"], "odd.csv has no column median_ms"),
        (["--latency=others.csv"], "others.csv holds none of the runs without; use the names of that table"),
        (["--latency=twice.csv"], "twice.csv has the run 'without' more than once; leave one row of it"),
        (["--latency=zero.csv"], "zero.csv: a row has no run, or no time above 0 ms; measure it again"),
        (["--latency=text.csv"], "text.csv, line 2: median_ms must be a number, got 'fast'"),
        (["--attention"], "--attention needs a run whose model reads prompts, and none does; leave it out"),
        (["--epochs=2"], "unrecognized argument --epochs=2"),
    ],
)
def test_a_report_that_cannot_be_is_refused_and_not_begun(runs, capsys, arguments, message):
    pd.DataFrame({"run": ["plain"], "p95_ms": [1.0]}).to_csv("odd.csv")
    pd.DataFrame({"run": ["without"], "median_ms": [0.0], "p95_ms": [1.0]}).to_csv("zero.csv")
    pd.DataFrame({"run": ["without"], "median_ms": ["fast"], "p95_ms": [1.0]}).to_csv("text.csv")
    pd.DataFrame({"run": ["x"], "median_ms": [1.0], "p95_ms": [1.0]}).to_csv("others.csv")
    pd.DataFrame({"run": ["without"] * 2, "median_ms": [1.0, 2.0], "p95_ms": [1.0, 2.0]}).to_csv("twice.csv")
    assert main(["report", runs[1], *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(Path().glob("*.html*"))
    assert not list(Path().glob("*.pdf*"))

"""``recbole-cp predict``: raw rows of any number to scores, whole or not at all."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.serving import files
from recbole_clickprompt.serving.files import RowFile
from recbole_clickprompt.serving.scores import TorchScores
from tests.serving.conftest import atomic


def write(rows, name):
    if name.endswith(".parquet"):
        rows.to_parquet(name)
    else:
        text = rows.to_csv(index=False, sep="\t" if ".tsv" in name else ",")
        Path(name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return name


def read(name):
    return pd.read_parquet(name) if name.endswith(".parquet") else pd.read_csv(name)


@pytest.mark.parametrize(
    ("rows", "scores"),
    [("rows.csv", "scores.parquet"), ("rows.tsv.gz", "scores.csv"), ("rows.parquet", "scores.parquet")],
)
def test_scores_are_written_in_the_order_of_the_rows(rows, scores, without_plm, capsys):
    write(without_plm.rows, rows)
    assert main(["predict", str(without_plm.checkpoint), rows, "-o", scores]) == 0
    written = read(scores)
    assert list(written) == ["user_id", "item_id", "score"]
    assert written["item_id"].tolist() == without_plm.rows["item_id"].tolist()
    np.testing.assert_allclose(written["score"], without_plm.scores, atol=1e-6, rtol=0)
    assert capsys.readouterr().out.splitlines()[-1] == f"131 rows scored: {scores}"


def test_unseen_values_are_counted_and_asked_for_columns_passed_on(without_plm, capsys):
    rows = without_plm.rows[:4].assign(request=[7, 8, 9, 10], title="Other")
    rows["user_id"] = ["u1", "new", "newer", "u1"]
    rows.loc[0, "device"] = "watch"
    write(rows, "rows.parquet")
    assert main(["predict", str(without_plm.checkpoint), "rows.parquet", "-o", "s.csv", "--keep=request"]) == 0
    assert list(pd.read_csv("s.csv")) == ["user_id", "item_id", "request", "score"]
    out = capsys.readouterr().out
    assert "user_id: 2 rows have values that training never saw" in out
    assert "device: 1 rows have values that training never saw" in out
    assert "4 rows have user or item features that differ from training" in out


def test_a_long_file_is_read_in_batches(without_plm, monkeypatch):
    monkeypatch.setattr(files, "_CSV_BLOCK", 300)
    monkeypatch.setattr(files, "_PARQUET_ROWS", 20)
    for name in ("rows.csv", "rows.parquet"):
        sizes = [len(batch) for batch in RowFile(Path(write(without_plm.rows, name))).batches()]
        assert sum(sizes) == len(without_plm.rows)
        assert max(sizes) <= 30
        assert main(["predict", str(without_plm.checkpoint), name, "-o", "s.parquet"]) == 0
        np.testing.assert_allclose(pd.read_parquet("s.parquet")["score"], without_plm.scores, atol=1e-6, rtol=0)


def test_progress_is_shown_on_a_terminal_only(without_plm, monkeypatch, capsys):
    command = ["predict", str(without_plm.checkpoint), write(without_plm.rows, "rows.csv"), "-o", "s.csv"]
    assert main(command) == 0
    assert "rows/s" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(command) == 0
    assert "rows/s" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv.gz", "rows.parquet"])
def test_the_number_of_rows_of_a_file_is_estimated_from_those_read(name, without_plm, monkeypatch):
    monkeypatch.setattr(files, "_CSV_BLOCK", 300_000)
    rows = pd.concat([without_plm.rows] * 1500)
    file = RowFile(Path(write(rows, name)))
    expected = [file.expected_rows for _ in file.batches()]
    np.testing.assert_allclose(expected, len(rows), rtol=0.8)
    assert expected[len(expected) // 2 :] == pytest.approx(
        [len(rows)] * (len(expected) - len(expected) // 2), rel=0.5
    )
    assert file.expected_rows == len(rows)


GOOD = "user_id,item_id,device\nu1,i1,phone\n"
QUOTE = 'user_id,item_id,device\nu21,i63,"gift idea\nu33,i50,phone\nu2,i3,for mum"\nu3,i3,pc\n'
BAD_INPUT = {
    "unknown kind": ("rows.txt", GOOD, [], "must be a .csv, .tsv (also .gz) or .parquet file"),
    "empty": ("rows.csv", "", [], "rows.csv is empty; it must hold a header and rows"),
    "header alone": ("rows.csv", "user_id,item_id,device\n", [], "rows.csv has no rows below its header"),
    "no id": ("rows.csv", "user_id,device\nu1,phone\n", [], "has no column 'item_id'"),
    "unknown column": (
        "rows.csv",
        "user,item_id,device\nu1,i1,phone\n",
        [],
        "'user', which is not a field",
    ),
    "twice": ("rows.csv", "user_id,user_id,item_id\nu1,u1,i1\n", [], "has the column 'user_id' twice"),
    "ragged": ("rows.csv", f"{GOOD}u2,i1\n", [], "rows.csv, line 3: 2 values where the header has 3"),
    "rows in quotes": (
        "rows.tsv",
        QUOTE.replace(",", "\t"),
        [],
        "rows.tsv, line 2: a quote opens here, and the quoted",
    ),
    "an open quote": (
        "rows.csv",
        f'{GOOD}u2,i1,"tv\n',
        [],
        "rows.csv, line 3: a quote opens here and is never closed",
    ),
    "an open quote but no quoting": (
        "rows.csv",
        f'{GOOD}"u,2",i1,tv\n',
        ["--no-quoting"],
        "line 3: 4 values where",
    ),
    "blanks in the header": (
        "rows.csv",
        "user_id, item_id,device\n",
        [],
        "has a column ' item_id', which is not a field",
    ),
    "no column but blank ones": (
        "rows.csv",
        "user_id\nu1\n",
        [],
        "the ids of a row; its columns are 'user_id'",
    ),
    "wrong type": ("rows.csv", "user_id,item_id,device,year\nu1,i1,tv,19x\n", [], "got '19x' in row 1"),
    "no parquet": ("rows.parquet", GOOD, [], "rows.parquet cannot be read"),
    "nothing to keep": ("rows.csv", GOOD, ["--keep=x"], "has no column 'x' to keep"),
    "unknown option": (
        "rows.csv",
        GOOD,
        ["--fast"],
        "unrecognized argument --fast; see recbole-cp predict",
    ),
    "unknown device": ("rows.csv", GOOD, ["--device=tpu"], "device must be cpu"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gives_one_line_and_leaves_no_file(case, without_plm, capsys):
    name, content, options, message = BAD_INPUT[case]
    Path(name).write_text(content)
    assert main(["predict", str(without_plm.checkpoint), name, "-o", "scores.parquet", *options]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in error
    assert not list(Path().glob("scores*"))


def test_quotes_are_ordinary_characters_without_quoting(without_plm, capsys):
    Path("rows.csv").write_text(QUOTE)
    assert (
        main(["predict", str(without_plm.checkpoint), "rows.csv", "-o", "s.csv", "--keep=device", "--no-quoting"])
        == 0
    )
    assert pd.read_csv("s.csv")["device"].tolist() == ['"gift idea', "phone", 'for mum"', "pc"]
    assert "device: 3 rows have values that training never saw" in capsys.readouterr().out


def test_what_a_row_lacks_or_has_too_much_of_is_reported(with_plm, capsys):
    Path("rows.csv").write_text(
        "user_id,item_id,device,year\n,i1,phone,\n\nu1,,phone,NA\n u1,new,phone,inf\nu1,new,phone,99999999\n"
        "u1,new,phone,1e300\nu1,new,phone,1980\n\n"
    )
    assert main(["predict", str(with_plm.checkpoint), "rows.csv", "-o", "s.csv"]) == 0
    scores = pd.read_csv("s.csv")
    assert len(scores) == 6
    assert scores["score"].between(0, 1).all()
    assert scores["user_id"].tolist()[2] == " u1"  # copied unchanged
    out = capsys.readouterr().out
    for remark in (
        "user_id: 1 rows have no id; they were scored like rows with an unseen id",
        "item_id: 1 rows have no id",
        "user_id: 1 rows have an id with surrounding blanks, which were removed",
        "year: 1 rows have an infinite number, which counts as missing",
        "year: 2 numbers are far outside the training range",
        "2 empty lines were skipped: they are not rows",
    ):
        assert remark in out


def test_other_than_one_score_a_row_is_an_error(without_plm, monkeypatch, capsys):
    write(without_plm.rows, "rows.parquet")
    some = RowFile.batches
    monkeypatch.setattr(RowFile, "batches", lambda file: (table[1:] for table in some(file)))
    assert main(["predict", str(without_plm.checkpoint), "rows.parquet", "-o", "s.csv"]) == 2
    assert "rows.parquet has 131 rows but got 130 scores; nothing was written" in capsys.readouterr().err
    assert not list(Path().glob("s.csv*"))


def test_a_score_that_is_not_finite_is_not_written(without_plm, monkeypatch, capsys):
    monkeypatch.setattr(TorchScores, "__call__", lambda _, columns: np.full(len(columns["user_id"]), np.nan))
    Path("rows.csv").write_text(GOOD)
    assert main(["predict", str(without_plm.checkpoint), "rows.csv", "-o", "s.csv"]) == 2
    assert "the score of row 1 is not a finite number" in capsys.readouterr().err
    assert not list(Path().glob("s.csv*"))


def test_a_fault_far_into_the_file_leaves_what_was_there_before(without_plm, monkeypatch, capsys):
    monkeypatch.setattr(files, "_CSV_BLOCK", 100)
    Path("scores.csv").write_text("before")
    Path("rows.csv").write_text("user_id,item_id,device,year\n" + "u1,i1,tv,\n" * 50 + "u1,i1,tv,x\n")
    assert main(["predict", str(without_plm.checkpoint), "rows.csv", "-o", "scores.csv"]) == 2
    assert "got 'x' in row 51" in capsys.readouterr().err
    assert Path("scores.csv").read_text() == "before"
    assert not list(Path().glob("*.partial"))


def test_an_output_that_cannot_be_is_refused_before_anything_is_read(without_plm, capsys):
    Path("rows.csv").write_text(GOOD)
    for output, message in [
        ("scores.txt", "must be a .csv or .parquet file"),
        ("none/s.csv", "there is no folder none"),
        ("rows.csv", "--output is the file that holds the rows"),
    ]:
        assert main(["predict", str(without_plm.checkpoint), "rows.csv", "-o", output]) == 2
        assert message in capsys.readouterr().err
    assert Path("rows.csv").read_text() == GOOD


def test_a_finished_runs_folder_serves_its_predictions_again(small, monkeypatch):
    settings = [f"--{key}={json.dumps(value)}" for key, value in {**small, "epochs": 1}.items()]
    assert main(["run", "-m", "DNN", "-d", "tiny", *settings]) == 0
    (checkpoint,) = Path("saved").glob("*.pth")
    monkeypatch.setattr("recbole_clickprompt.serving.load.build_data", None)
    expected = open_run(checkpoint).predictions("test")
    rows = atomic("inter")[["user_id", "item_id", "device"]].merge(
        expected[["user", "item"]], left_on=["user_id", "item_id"], right_on=["user", "item"]
    )
    rows = rows.drop_duplicates(["user_id", "item_id"])
    once = expected.drop_duplicates(["user", "item"], keep=False).merge(rows, on=["user", "item"])
    write(once[["user_id", "item_id", "device"]], "rows.csv")
    assert main(["predict", str(open_run(checkpoint).folder), "rows.csv", "-o", "scores.parquet"]) == 0
    np.testing.assert_allclose(pd.read_parquet("scores.parquet")["score"], once["score"], atol=1e-6, rtol=0)

"""``recbole-cp data``, and the report after ``from-table`` and ``prepare``."""

import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.commands import data
from tests.conftest import ROOT
from tests.evaluation.report.test_page import Page

DATA = f"--data_path={ROOT / 'dataset_atomic'}"


def test_the_report_of_tiny_and_its_page(capsys):
    assert main(["data", "tiny", DATA, "--html=new/data.html"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "data set tiny: 1,315 rows"
    assert [line.split()[:5] for line in out[2:5]] == [
        ["training", "1,053", "60", "64", "52.9"],
        ["validation", "131", "50", "58", "48.1"],
        ["test", "131", "60", "54", "51.9"],
    ]
    assert out[5] == "dropped: 185 of 1,500 rows by val_interval {'rating': '[1,2];[4,5]'}"
    assert out[-1] == "page: new/data.html"
    page = Page(Path("new/data.html").read_text(encoding="utf-8"))
    for cell in ("1,053", "2001-09-09 01:46", "121 (11.5 %)", "genre", "185"):
        assert cell in page.cells
    figures = [
        json.loads(text) for attributes, text in page.scripts if attributes.get("type") == "application/json"
    ]
    assert len(figures) == 5
    assert all(len(go.Figure(figure).data) >= 1 for figure in figures)  # plotly takes them
    rows, shares, unseen, users, _ = figures
    assert [sum(line["y"]) for line in rows["data"]] == [1053, 131, 131]
    assert all(0 <= share <= 1 for line in shares["data"] for share in line["y"])
    assert [line["y"] for line in unseen["data"]] == [[0, 0]] * 3
    assert sum(users["data"][0]["y"]) == 60


def test_settings_are_those_of_a_run(capsys):
    assert main(["data", "tiny", DATA, "--cold_start=item_id"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("test ")]
    rows = line.split()[1]
    assert f"{rows} (100.0 %)" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny", DATA, "--html=page.txt"], "the page's file must end in .html, got page.txt"),
        (["nowhere"], "dataset_atomic/nowhere does not exist"),
        (["tiny", DATA, "--cold_strat=item_id"], "cold_strat is not a setting"),
        (["tiny", DATA, "--threshold={rating: 9}"], "must contain both classes"),
        (["tiny", DATA, "--train_rows=5000"], "train_rows is 5000, but there are only 1053 rows"),
        (["a/b"], "dataset must be the name of a data set"),
    ],
)
def test_what_cannot_be_reported_is_one_line(capsys, arguments, message):
    assert main(["data", *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not Path("page.txt").exists()


def shop(rows):
    lines = [f"c{n % 5},s{n % 7},{n % 2},{1_700_000_000 + n}" for n in range(rows)]
    Path("clicks.csv").write_text("\n".join(["customer,sku,bought,when", *lines]) + "\n")
    return [
        "from-table", "clicks.csv", "--user=customer", "--item=sku", "--label=bought", "--time=when", "--name=shop"
    ]  # fmt: skip


def test_from_table_prints_the_report(capsys):
    assert main(shop(40)) == 0
    out = capsys.readouterr().out
    assert "data set shop: 40 rows\n" in out
    assert re.search(r"^training +32 +5 +7 ", out, re.MULTILINE)


def test_a_table_that_cannot_be_trained_on_is_converted_and_says_why(capsys):
    assert main(shop(5)) == 0
    assert (
        "note: there is no report of this data set, and it cannot be trained on yet: the "
        in capsys.readouterr().out
    )


def test_a_large_table_names_the_command(capsys, monkeypatch):
    monkeypatch.setattr(data, "_MOST_ROWS", 39)
    assert main([*shop(40), "--out=elsewhere"]) == 0
    out = capsys.readouterr().out
    assert "`recbole-cp data shop --data_path=elsewhere` reports users, items" in out
    assert "data set shop" not in out
    assert main(["data", "shop", "--data_path=elsewhere"]) == 0

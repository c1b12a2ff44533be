"""What methods add to a report: tables of words, and a measure of a stage against the test AUC."""

import json

import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.report.build import Extras, build_report
from recbole_clickprompt.evaluation.report.method import method_section
from recbole_clickprompt.evaluation.run_folder import open_run

from .conftest import EVIL

MEASURE = ("pretrain", "mlm_loss", "Loss and AUC", "nats", "The last loss of pretraining, and the test AUC.")
TABLE = {"title": "Nearest", "caption": "Items.", "header": ["item", "nearest"], "rows": [["a", EVIL]]}


def with_tables(run, tables):
    file = run.folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tables": tables}))
    return open_run(run.folder)


def test_runs_without_anything_have_no_section(runs):
    assert method_section(runs, dict.fromkeys(runs, 0.5), [MEASURE]) is None  # one run alone has the measure


def test_a_measure_is_shown_for_the_runs_that_have_it(runs):
    best = runs[EVIL]
    section = method_section({**runs, "again": best}, {"plain": 0.5, EVIL: 0.6, "again": 0.7}, [MEASURE])
    (panel,) = section.panels
    assert panel.title == "Loss and AUC"
    assert panel.table.rows == [(EVIL, "2.2500", "0.6000"), ("again", "2.2500", "0.7000")]
    assert [(trace["x"], trace["y"]) for trace in panel.figure["data"]] == [([2.25], [0.6]), ([2.25], [0.7])]


def test_tables_of_a_run_are_shown_and_escaped(runs):
    runs["plain"] = with_tables(runs["plain"], [TABLE])
    page = build_report(runs, samples=10, extras=Extras(measures=[MEASURE]))
    assert "Nearest: plain" in page
    assert EVIL not in page


@pytest.mark.parametrize(
    "tables", [{}, [1], [{**TABLE, "rows": [["a"]]}], [{**TABLE, "header": "ab"}], [{"title": "x"}]]
)
def test_other_tables_are_refused(runs, tables):
    with pytest.raises(DataError, match=r"run\.json: tables must be a list of tables with title, caption"):
        with_tables(runs["plain"], tables)

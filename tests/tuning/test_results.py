"""Tables of results that several processes fill."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.tuning.results import append_row, digest, read_results


@pytest.mark.parametrize("name", ["made/table.csv", "made/table.parquet"])
def test_no_row_is_lost_where_several_add_theirs(name):
    table = Path(name)
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda number: append_row({"number": number, "score": number / 7}, table), range(24)))
    rows = read_results(table, []).sort_values("number")
    assert rows["number"].tolist() == list(range(24))
    assert rows["score"].tolist() == [number / 7 for number in range(24)]
    assert sorted(len(results) for results in seen) == list(range(1, 25))


READ = """
import sys, pandas as pd
print(",".join(map(str, pd.read_csv(sys.argv[1]).iloc[0])))
"""


def test_a_digest_is_never_a_number_to_those_who_read_the_table():
    # of hex digits, one in some 800 is: 12e3456789012345 would end pandas by a segmentation fault
    table, digests = Path("table.csv"), [digest(number) for number in range(4000)]
    pd.DataFrame([digests]).to_csv(table, index=False)
    run = subprocess.run([sys.executable, "-c", READ, table], capture_output=True, text=True, check=True)
    assert run.stdout.strip().split(",") == digests
    assert len(set(digests)) == 4000


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_names_stay_as_they_are(name):
    table = Path(name)
    names = ["007", "1e3", "None", "12e3456789012", "with, PLM"]
    for run in names:
        append_row({"run": run, "auc": 0.5, "error": None, "digest": digest(run)}, table)
    rows = read_results(table, [])
    assert rows["run"].tolist() == names
    assert rows["error"].isna().all()
    assert rows["auc"].tolist() == [0.5] * 5


def filled(table, rows):
    for row in rows:
        append_row(row, table)
    return table


ROWS = [{"run": "a", "seed": seed, "auc": seed / 7, "digest": digest(seed)} for seed in (1, 2, 3)]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_second_row_of_a_digest_is_not_added_and_that_is_told(name, caplog):
    table = filled(Path(name), ROWS)
    before = table.read_bytes()
    rows = append_row({**ROWS[1], "auc": 0.99}, table)
    assert rows["auc"].tolist() == [1 / 7, 2 / 7, 3 / 7]
    assert table.read_bytes() == before
    assert f"{name}: another process has added this run in the meantime; its row is kept" in caplog.text


def written(rows, table):
    frame = pd.DataFrame(rows)
    frame.to_parquet(table) if table.suffix == ".parquet" else frame.to_csv(table, index=False)
    return table


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([ROWS[0]], "1 row repeats the digest of one above it; the first row of each digest is used"),
        ([ROWS[0], ROWS[2]], "2 rows repeat the digest of one above them; the first row"),
        (
            [ROWS[0], {**ROWS[2], "auc": 0.9}],
            "2 rows repeat the digest of one above them, 1 with other values; the",
        ),
    ],
)
def test_repeated_rows_are_left_out_when_a_table_is_read_and_stay_in_the_file(name, more, told, caplog):
    table = written([*ROWS, *more], Path(name))
    assert read_results(table, [])["auc"].tolist() == [1 / 7, 2 / 7, 3 / 7]
    (line,) = caplog.messages
    assert line.startswith(f"{name}: {told}")
    caplog.clear()
    rows = append_row({"run": "a", "seed": 4, "auc": 0.5, "digest": digest(4)}, table)
    assert rows["seed"].tolist() == [1, 2, 3, 4]
    assert caplog.messages == []  # told once, when the command began
    assert read_results(table, [])["seed"].tolist() == [1, 2, 3, 4]
    raw = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)
    assert len(raw) == 4 + len(more)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_rows_without_a_digest_are_left_out_and_told(name, caplog):
    table = written([{**ROWS[0], "digest": None}, *ROWS, {**ROWS[2], "digest": None}], Path(name))
    assert read_results(table, [])["seed"].tolist() == [1, 2, 3]
    (line,) = caplog.messages
    assert line.startswith(f"{name}: 2 rows have no digest, so their settings are unknown; they are ignored")


def test_rows_of_a_table_without_digests_all_count(caplog):
    table = written([{"run": "a", "ms": 1.5}] * 2, Path("table.csv"))
    assert len(read_results(table, [])) == 2
    assert caplog.messages == []


@pytest.mark.parametrize(("content", "told"), [("run,ms\na,1\n", "it has no column digest"), ("", "No columns")])
def test_what_is_no_results_table_is_refused_in_one_line(content, told):
    Path("table.csv").write_text(content)
    with pytest.raises(DataError, match=f"table.csv .*{told}"):
        read_results(Path("table.csv"), ["run", "digest"])


def append_rows(run):
    for seed in range(10):
        append_row({"run": run, "seed": seed, "digest": digest(seed)}, Path("table.csv"))


def test_two_processes_with_the_same_runs_leave_one_row_of_each():
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=append_rows, args=[run]) for run in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(pd.read_csv("table.csv")["seed"]) == list(range(10))
    assert [path.name for path in Path().iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("run,run,auc\na,b,0.5\n", "a column is in its header twice"),
        ("run,auc\na,0.5,1\n", "line 2 has 3 values where the header has 2 columns"),
        ('run,auc\n"a,0.5\n', "cannot be read"),
        ("run,auc\na,inf\n", "line 2: auc must be a number from 0 to 1, got 'inf'"),
        ("run,auc\na,x\n", "line 2: auc must be a number from 0 to 1, got 'x'"),
        ("run,auc\na,0.5\nb,1.7\n", "line 3: auc must be a number from 0 to 1, got '1.7'"),
        ("run,auc\na,-0.1\n", "line 2: auc must be a number from 0 to 1, got '-0.1'"),
        ("run,test_logloss\na,-0.1\n", "line 2: test_logloss must be a number from 0, got '-0.1'"),
        ("run,test_ndcg@10\na,x\n", "line 2: test_ndcg@10 must be a number, got 'x'"),
    ],
)
def test_a_damaged_table_is_refused_by_its_line(content, message):
    Path("table.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_results(Path("table.csv"), [], numbers=["auc", "test_*"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"run": [["a"]], "auc": [0.5]}, "its column run holds lists or mappings"),
        ({"run": ["a"], "auc": [{"x": 1}]}, "its column auc holds lists or mappings"),
        ({"run": [1], "auc": [0.5]}, "run must be a text, got 1"),
    ],
)
def test_a_parquet_table_of_other_types_is_refused(table, message):
    pd.DataFrame(table).to_parquet("table.parquet")
    with pytest.raises(DataError, match=message):
        read_results(Path("table.parquet"), [], numbers=["auc"])


def test_metrics_are_checked_by_the_beginning_of_their_names():
    Path("table.csv").write_text("run,valid_auc\na,x\n")
    with pytest.raises(DataError, match="valid_auc must be a number"):
        read_results(Path("table.csv"), [], numbers=["valid_*"])

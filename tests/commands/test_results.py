"""Tables of results that several processes fill."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from recbole_clickprompt.commands.results import append_row, digest, read_results


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

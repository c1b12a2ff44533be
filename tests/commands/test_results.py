"""Tables of results that several processes fill."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recbole_clickprompt.commands.results import append_row, read_results


@pytest.mark.parametrize("name", ["made/table.csv", "made/table.parquet"])
def test_no_row_is_lost_where_several_add_theirs(name):
    table = Path(name)
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda number: append_row({"number": number, "score": number / 7}, table), range(24)))
    rows = read_results(table, []).sort_values("number")
    assert rows["number"].tolist() == list(range(24))
    assert rows["score"].tolist() == [number / 7 for number in range(24)]
    assert sorted(len(results) for results in seen) == list(range(1, 25))

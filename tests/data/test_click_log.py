"""The log of clicks against a search through all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.data import click_log
from recbole_clickprompt.data.click_log import RowOrder, build_click_log
from recbole_clickprompt.errors import DataError

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, 1.5, 2.0**24, 2.0**24 + 1]), st.booleans()),
    min_size=1,
    max_size=30,
)


def histories(users, times, clicks):
    log = build_click_log(RowOrder(users, times), clicks)
    return [log.clicks[begin:end].tolist() for begin, end in zip(log.begin, log.end, strict=True)]


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_a_row_has_its_users_strictly_earlier_clicks_by_time_then_file_order(rows):
    users, times, clicks = map(np.array, zip(*rows, strict=True))
    expected = []
    for user, time, _ in rows:
        earlier = [i for i, (u, t, c) in enumerate(rows) if c and u == user and t < time]
        expected.append(sorted(earlier, key=lambda i: (rows[i][1], i)))
    assert histories(users, times, clicks) == expected


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_without_times_the_order_of_the_rows_counts(rows):
    users, _, clicks = map(np.array, zip(*rows, strict=True))
    expected = [
        [i for i, (u, _, c) in enumerate(rows[:row]) if c and u == user] for row, (user, _, _) in enumerate(rows)
    ]
    assert histories(users, None, clicks) == expected


@settings(max_examples=100, deadline=None)
@given(ROWS, st.data())
def test_changing_or_adding_rows_at_or_after_a_rows_time_leaves_its_history(rows, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    time = rows[row][1]
    later = data.draw(ROWS)
    changed = [(u, t, not c) if t >= time else (u, t, c) for u, t, c in rows]
    changed += [(u, max(t, time), c) for u, t, c in later]
    before, after = (histories(*map(np.array, zip(*table, strict=True)))[row] for table in (rows, changed))
    assert after == before


def test_more_clicks_than_32_bits_count_are_an_error(monkeypatch):
    monkeypatch.setattr(click_log, "_MOST_CLICKS", 2)
    order = RowOrder(np.zeros(3, dtype=np.int64), None)
    build_click_log(order, np.array([True, True, False]))
    with pytest.raises(DataError, match="3 clicks"):
        build_click_log(order, np.ones(3, dtype=bool))

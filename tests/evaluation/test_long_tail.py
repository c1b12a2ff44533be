import math

import numpy as np
import pandas as pd
import pytest

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.long_tail import (
    by_bins,
    by_tail,
    compare_subsets,
    tail_tokens,
    training_rows_of,
)

# Two users and two items are the bottom fifth of ten each; u0 and i0 the very last
COUNTS = pd.DataFrame(
    [(kind, f"{kind[0]}{n}", rows) for kind in ("user", "item") for n, rows in enumerate([1, 2, *[10] * 7, 40])],
    columns=["kind", "token", "rows"],
)
PLACES = [("u1", "i0"), ("u5", "i1"), ("u0", "i9"), ("u9", "i9"), ("new", "i1"), ("u1", "new"), ("new", "new")]
ROWS = pd.DataFrame(PLACES, columns=["user", "item"])


def members(subsets):
    return {name: np.flatnonzero(mask).tolist() for name, mask in subsets.items()}


def test_the_tail_is_the_exact_share_with_the_fewest_rows_and_ties_go_by_token():
    counts = pd.Series({"b": 1, "a": 1, "c": 1, "e": 0, "d": 9})
    assert tail_tokens(counts, share=0.2) == {"e"}
    assert tail_tokens(counts, share=0.6) == {"e", "a", "b"}
    assert tail_tokens(counts, share=0.1) == set()
    assert len(tail_tokens(pd.Series(range(30)), share=0.1)) == 3


def test_training_rows_are_0_for_the_unseen():
    assert training_rows_of(ROWS, COUNTS, "user").tolist() == [2, 10, 1, 40, 0, 2, 0]


def test_four_subsets_and_the_unseen_apart_hold_each_row_once():
    found = members(by_tail(ROWS, COUNTS, share=0.2))
    assert found == {
        "tail user, tail item": [0],
        "head user, tail item": [1],
        "tail user, head item": [2],
        "head user, head item": [3],
        "unseen user, seen item": [4],
        "seen user, unseen item": [5],
        "unseen user, unseen item": [6],
        "all": list(range(7)),
    }


def test_four_subsets_hold_all_rows_where_the_unseen_are_tail():
    found = members(by_tail(ROWS, COUNTS, share=0.2, unseen_is_tail=True))
    assert found.pop("all") == list(range(7))
    assert sorted(row for rows in found.values() for row in rows) == list(range(7))
    assert found["tail user, tail item"] == [0, 4, 5, 6]


def test_bins_hold_their_lower_edge_and_not_their_upper_one():
    found = members(by_bins(ROWS, COUNTS, [0, 1, 2, 10, math.inf]))
    assert found == {
        "user with 0 training rows": [4, 6],
        "user with 1 training row": [2],
        "user with 2 to 9 training rows": [0, 5],
        "user with 10 or more training rows": [1, 3],
        "item with 0 training rows": [5, 6],
        "item with 1 training row": [0],
        "item with 2 to 9 training rows": [1, 4],
        "item with 10 or more training rows": [2, 3],
    }


@pytest.mark.parametrize("edges", [[1], [0, 0], [5, 1]])
def test_bins_that_do_not_rise_are_refused(edges):
    with pytest.raises(SettingError, match="two or more increasing numbers"):
        by_bins(ROWS, COUNTS, edges)


def test_counts_without_items_are_refused():
    with pytest.raises(DataError, match="contain no item"):
        by_tail(ROWS, COUNTS[COUNTS["kind"] == "user"])


@pytest.fixture
def tables():
    rows = pd.DataFrame({"user": list("aabb"), "item": list("xyxx"), "label": [1, 0, 1, 1]})
    return {"plain": rows.assign(score=[0.4, 0.6, 0.5, 0.5]), "ours": rows.assign(score=[0.6, 0.4, 0.75, 0.5])}


def test_subsets_are_measured_side_by_side(tables):
    masks = {"all": np.ones(4, dtype=bool), "first": np.array([True, True, False, False])}
    table = compare_subsets(tables, masks, samples=50).set_index(["subset", "run"])
    plain, ours = table.loc[("all", "plain")], table.loc[("all", "ours")]
    assert plain[["rows", "users", "items", "positive_rate"]].tolist() == [4, 2, 2, 0.75]
    assert (plain["auc"], ours["auc"]) == (0.0, 1.0)
    assert plain["logloss"] == pytest.approx(-(2 * math.log(0.4) + 2 * math.log(0.5)) / 4)
    assert plain["logloss_low"] <= plain["logloss"] <= plain["logloss_high"]
    assert math.isnan(ours["relative_auc"])  # to an AUC of 0
    assert table.loc[("first", "ours"), "logloss"] == pytest.approx(-math.log(0.6))


def test_the_relative_auc_is_to_the_named_baseline(tables):
    table = compare_subsets(tables, {"all": np.ones(4, dtype=bool)}, baseline="ours", samples=50).set_index("run")
    assert table.loc["plain", ["relative_auc", "relative_auc_low", "relative_auc_high"]].tolist() == [-1, -1, -1]
    assert math.isnan(table.loc["ours", "relative_auc"])
    with pytest.raises(SettingError, match="baseline must be one of plain, ours"):
        compare_subsets(tables, {}, baseline="theirs")


def test_a_subset_of_one_class_or_without_rows_says_so(tables):
    masks = {"b": np.array([False, False, True, True]), "c": np.zeros(4, dtype=bool)}
    table = compare_subsets(tables, masks, samples=20).set_index(["subset", "run"])
    assert table.loc[("b", "ours"), "note"] == "all 2 rows are positive"
    assert math.isnan(table.loc[("b", "ours"), "auc"])
    assert table.loc[("b", "ours"), "logloss"] == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)
    assert table.loc[("c", "plain"), ["rows", "note"]].tolist() == [0, "no rows"]
    assert math.isnan(table.loc[("c", "plain"), "logloss"])


def test_other_rows_are_refused(tables):
    tables["ours"] = tables["ours"].assign(item=list("xyxy"))
    with pytest.raises(DataError, match="different rows"):
        compare_subsets(tables, {"all": np.ones(4, dtype=bool)})

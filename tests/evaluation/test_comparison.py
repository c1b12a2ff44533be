import math

import pandas as pd
import pytest

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.comparison import check_same_rows, compare_runs
from recbole_clickprompt.evaluation.report.results import comparable
from recbole_clickprompt.evaluation.significance import delong_test

ROWS = pd.DataFrame(
    {
        "split": "test",
        "user": ["a", "a", "b", "b", "b", "a"],
        "item": list("uvwxyz"),
        "label": [1, 0, 1, 0, 1, 0],
        "time": pd.array([1, 2, None, 4, 5, 6], dtype="Int64"),
        "score": [0.9, 0.2, 0.4, 0.6, 0.7, 0.1],
    }
)
WORSE = ROWS.assign(score=[0.4, 0.3, 0.5, 0.6, 0.2, 0.1])


def test_a_run_is_related_to_the_baseline_and_not_the_baseline_to_itself():
    table = compare_runs({"plain": WORSE, "ours": ROWS}, baseline="plain", samples=200).set_index("run")
    plain, ours = table.loc["plain"], table.loc["ours"]
    assert plain["auc"] == pytest.approx(5 / 9)  # .4 beats two of .3 .6 .1, .5 two, .2 one
    assert ours["auc"] == pytest.approx(8 / 9)
    assert ours["relative_auc"] == pytest.approx(8 / 5 - 1)
    assert ours["rela_impr"] == pytest.approx((7 / 18) / (1 / 18) - 1)
    assert ours["auc_difference"] == pytest.approx(3 / 9)
    assert ours["p_delong"] == delong_test(ROWS["label"], ROWS["score"], WORSE["score"]).p
    assert ours["logloss_difference"] == pytest.approx(ours["logloss"] - plain["logloss"])
    assert ours["auc_difference_low"] <= ours["auc_difference"] <= ours["auc_difference_high"]
    assert plain[["relative_auc", "p_delong", "p_bootstrap", "logloss_difference"]].isna().all()


def test_intervals_of_a_run_do_not_hang_on_what_it_is_compared_with():
    alone = compare_runs({"ours": ROWS}, samples=50).iloc[0]
    beside = compare_runs({"plain": WORSE, "ours": ROWS}, baseline="plain", samples=50).iloc[1]
    assert alone[["auc_low", "logloss_high"]].tolist() == beside[["auc_low", "logloss_high"]].tolist()


def test_without_a_baseline_rows_may_differ_and_nothing_is_compared():
    table = compare_runs({"one": ROWS, "other": ROWS[:4]}, samples=10)
    assert table["rows"].tolist() == [6, 4]
    assert "relative_auc" not in table


def test_one_row_of_a_class_is_measured_without_delong():
    few = {"plain": WORSE[:2], "ours": ROWS[:2]}
    assert math.isnan(compare_runs(few, baseline="plain", samples=10)["p_delong"].iloc[1])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ROWS[:5], "6 rows and 5"),
        (ROWS.assign(user=["a", "a", "b", "b", "b", "b"]), "user of row 5: a and b"),
        (ROWS.assign(label=[1, 1, 1, 0, 1, 0]), "label of row 1: 0 and 1"),
        (ROWS.assign(time=pd.array([1, 2, 3, 4, 5, 6], dtype="Int64")), "time of row 2: <NA> and 3"),
    ],
)
def test_other_rows_are_refused(other, message):
    with pytest.raises(DataError, match=f"one and two were tested on different rows.*{message}"):
        check_same_rows({"one": ROWS, "two": other})


def test_the_same_rows_pass_also_where_times_are_missing():
    assert comparable({"one": ROWS, "two": WORSE}) == ""


def test_an_unknown_baseline_is_refused():
    with pytest.raises(SettingError, match="baseline must be one of one"):
        compare_runs({"one": ROWS}, baseline="two")

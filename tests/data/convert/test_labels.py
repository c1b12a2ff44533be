"""Labels of a user's own table: what is unclear is an error that says what to pass."""

import polars as pl
import pytest

from recbole_clickprompt.data.convert import labels as labels_module
from recbole_clickprompt.data.convert.labels import LabelColumn, LabelCounts, find_threshold
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.errors import DataError, SettingError


def table(values):
    return TextTable(pl.DataFrame({"y": values}, strict=False), "x.csv", lambda row: row + 2)


def read(*batches):
    """Labels of a column that is read in batches."""
    column = LabelColumn("y")
    found = [column.read(table(values)) for values in batches]
    column.check()
    return pl.concat(found).to_list()


def threshold_of(values, threshold=None):
    thresholds = set()
    for size in (1, len(values)):  # in batches of one row, and at once
        counts = LabelCounts(threshold)
        for start in range(0, len(values), size):
            counts.add(pl.Series(values[start : start + size], dtype=pl.Float64))
        thresholds.add(find_threshold("x.csv, column y", counts, threshold))
    (found,) = thresholds
    return found


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["0", " 1", "True", "FALSE", "1.0"], [0, 1, 1, 0, 1]),
        (["1", "", "NA", "nan", "-", "null", None], [1, *[None] * 6]),
        ([1.0, float("nan"), None], [1, None, None]),
        ([True, False], [1, 0]),
        ([-1, 2], [-1, 2]),
    ],
)
def test_labels_are_numbers_and_the_words_for_missing_ones_are_missing(values, labels):
    assert read(values) == labels


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["1", "yes"],
            "x.csv, line 3, column y: 'yes' is no number; a label is 0 or 1, true or",
        ),
        (["1", "-inf"], "x.csv, line 3, column y: '-inf' is infinite"),
        ([1.0, float("inf")], "x.csv, line 3, column y: inf is infinite"),
        (["1", "1e999"], "x.csv, line 3, column y: '1e999' is infinite"),
        ([[1]], "x.csv, column y: a label must be a number, got List"),
    ],
)
def test_labels_that_are_no_finite_numbers_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        read(values)


@pytest.mark.parametrize("values", [[0, 1], [1, 0, 0]])
def test_labels_of_0_and_1_need_no_threshold(values):
    assert threshold_of(values) is None


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5], [0.5, 4.5, 5], [3, 5]])
def test_ratings_that_look_like_stars_are_positive_from_4_on(values):
    assert threshold_of(values) == 4


@pytest.mark.parametrize(
    ("values", "shown", "example"),
    [
        ([-1, 1], "-1, 1", "1"),
        ([1, 2], "1, 2", "2"),
        ([-1, 0, 1], "-1, 0, 1", "1"),
        ([1, 2, 3], "1, 2, 3", "3"),
        ([4, 5], "4, 5", "5"),
        ([0, 1, 2, 3, 4, 5], "0, 1, 2, 3, 4, 5", "4"),
        ([0.25, 0.5, 5], "0.25, 0.5, 5", "5"),
        ([0, 0.5, 1], "0, 0.5, 1", "1"),
        (list(range(1, 11)), r"from 1 to 10 \(10 different ones\)", "8"),
    ],
)
def test_other_ratings_are_shown_with_the_threshold_to_pass(values, shown, example):
    with pytest.raises(DataError, match=f"the values {shown} are no 0 and 1 .* such as --threshold {example}$"):
        threshold_of(values)
    assert threshold_of(values, float(example)) == float(example)


@pytest.mark.parametrize(
    ("values", "threshold", "message"),
    [
        ([1, 1], None, r"all 2 rows are positive \(1\); add rows.*--sample-negatives"),
        ([0, 0], None, "0 of 2 rows are positive, 0.5 or more; both kinds are needed, and the values are 0"),
        ([5, 5], None, "2 of 2 rows are positive"),
        ([1, 2], 3.0, "0 of 2 rows are positive, 3 or more; both kinds are needed, and the values are 1, 2"),
    ],
)
def test_rows_of_one_kind_are_refused(values, threshold, message):
    with pytest.raises(DataError, match=message):
        threshold_of(values, threshold)


def test_a_threshold_is_a_finite_number():
    with pytest.raises(SettingError, match="--threshold must be a finite number, got nan"):
        threshold_of([0, 1], float("nan"))


def test_faults_of_all_batches_are_counted_and_the_first_is_shown():
    with pytest.raises(DataError, match=r"line 3, column y: 'a' is no number; .* \(and 2 more rows\)$"):
        read(["1", "a"], ["b", "1", "c"])


def test_of_too_many_labels_the_range_and_the_positive_ones_are_still_known(monkeypatch):
    monkeypatch.setattr(labels_module, "_MOST_VALUES", 10)
    values = [n / 8 for n in range(100)]
    with pytest.raises(DataError, match=r"from 0 to 12.375 \(more than 10 different ones\) are no 0 and 1"):
        threshold_of(values)
    counts = LabelCounts(6.0)
    for start in range(0, 100, 7):
        counts.add(pl.Series(values[start : start + 7]))
    assert (counts.rows, counts.positive(6.0)) == (100, 52)

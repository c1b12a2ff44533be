"""Raw values as a model takes them: no number makes a score that is none, and what was changed is counted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.preprocessing.scaling import Scale
from recbole_clickprompt.serving.columns import to_table
from recbole_clickprompt.serving.model import ServedModel
from recbole_clickprompt.serving.rows import Counts, RowEncoder
from tests.serving.conftest import field, preprocessing_of

YEAR = replace(field("year", "float", Scale(missing=1990.0)), range=(1950.0, 2000.0))


def encode(columns, *fields):
    counts = Counts()
    table = to_table(pd.DataFrame({"user_id": "a", "item_id": "b", **columns}))
    return RowEncoder(preprocessing_of(*fields))(table, counts), counts


@pytest.mark.parametrize(
    "word", ["", "NA", "nan", "NaN", "-", "--", "null", "None", "N/A", "?", ".", "#N/A", " na "]
)
def test_a_word_for_a_missing_number_is_a_missing_number(word):
    encoded, counts = encode({"year": ["1960", word]}, YEAR)
    assert encoded["year"][:, 0].tolist() == [1960, 1990]
    assert counts.remarks() == []


@pytest.mark.parametrize(
    "years",
    [
        ["inf", "1960", "-inf"],
        [" Infinity ", "1960", "1e999"],
        [np.inf, 1960, -np.inf],
        np.array([np.inf, 1960, -np.inf], dtype=np.float32),
        pd.array([np.inf, 1960, -np.inf], dtype=pd.ArrowDtype(pa.float64())),
    ],
)
def test_an_infinite_number_counts_as_missing_and_is_reported(years):
    encoded, counts = encode({"year": years}, YEAR)
    assert encoded["year"][:, 0].tolist() == [1990, 1960, 1990]
    assert counts.remarks() == ["year: 2 rows have an infinite number, which counts as missing"]


def test_a_far_number_is_limited_and_reported():
    years = ["1940", "99999999", "1e300", "-1e300", "2500", "2501"]
    encoded, counts = encode({"year": years}, YEAR)
    assert encoded["year"][:, 0].tolist() == [1940, 2500, 2500, 1450, 2500, 2500]
    (remark,) = counts.remarks()
    assert remark.startswith("year: 4 numbers are far outside the training range; they were clipped at ten times")


def test_without_a_known_range_a_number_stays_finite():
    encoded, counts = encode({"year": [1e300, -1e300, 1e8]}, field("year", "float", Scale(missing=0.0)))
    largest = np.finfo(np.float32).max
    assert encoded["year"][:, 0].tolist() == [largest, -largest, 1e8]
    assert counts.far == {"year": 2}


@pytest.mark.parametrize(
    "scale",
    [
        Scale(missing=0.0, low=0.0, high=1e-300),
        Scale(missing=0.0, bins=4, edges=(0.0, 1e-300)),
        Scale(missing=0.0, levels=(1.0, 2.0, 5.0)),
    ],
)
def test_no_scale_makes_a_number_infinite(scale):
    hour = replace(field("hour", "float", scale), range=(0.0, 1.0))
    encoded, _ = encode({"hour": [1e300, -1e300, np.inf, np.nan, 1.7e308]}, hour)
    assert np.isfinite(encoded["hour"]).all()


def test_numbers_in_sequences_are_treated_alike():
    prices = replace(field("prices", "float_seq", Scale(missing=0.0), width=3), range=(0.0, 10.0))
    encoded, counts = encode({"prices": ["1 inf 2", "na 5", "1e300", ""]}, prices)
    assert encoded["prices"][..., 0].tolist() == [[1, 0, 2], [0, 5, 0], [110, 0, 0], [0, 0, 0]]
    assert counts.infinite == {"prices": 1}
    assert counts.far == {"prices": 1}
    listed, _ = encode({"prices": [[1.0, np.inf, 2.0], [np.nan, 5.0], [1e300], []]}, prices)
    np.testing.assert_array_equal(listed["prices"], encoded["prices"])


def test_an_integer_beyond_the_exact_floats_is_rounded():
    encoded, _ = encode({"year": [2**60 + 1]}, replace(YEAR, range=None))
    assert encoded["year"][0, 0] == 2.0**60


def test_rows_without_an_id_are_counted():
    encoded, counts = encode({"user_id": ["a", "", None, "new"], "item_id": ["b", "b", None, "  "]})
    assert encoded["user_id"].tolist() == [1, 0, 0, 0]
    assert counts.remarks() == [
        "user_id: 2 rows have no id; they were scored like rows with an unseen id",
        "item_id: 2 rows have no id; they were scored like rows with an unseen id",
        "item_id: 1 rows have an id with surrounding blanks, which were removed",
        "user_id: 1 rows have values that training never saw",
    ]


def test_blanks_around_an_id_are_left_out_unless_training_saw_it_so():
    known = preprocessing_of()
    vocabulary = {**known.vocabulary, "user_id": np.array(["[PAD]", "a", " a"], dtype=object)}
    counts = Counts()
    rows = to_table(pd.DataFrame({"user_id": [" a", "a", "a ", "\ta", "new "], "item_id": "b"}))
    encoded = RowEncoder(replace(known, vocabulary=vocabulary))(rows, counts)
    assert encoded["user_id"].tolist() == [2, 1, 1, 1, 0]
    assert counts.blanks == {"user_id": 3}
    assert counts.unseen["user_id"] == 1


def test_ids_that_differ_after_a_nul_are_different():
    known = preprocessing_of()
    ids = ["u\0x", "u", "u\0", "u\0y"]
    vocabulary = {**known.vocabulary, "user_id": np.array(["[PAD]", "u", "u\0x", "u\0"], dtype=object)}
    counts = Counts()
    table = to_table(pd.DataFrame({"user_id": ids, "item_id": "a"}))
    encoded = RowEncoder(replace(known, vocabulary=vocabulary))(table, counts)
    assert encoded["user_id"].tolist() == [2, 1, 3, 0]
    assert counts.unseen["user_id"] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_an_error_by_row(bad):
    model = ServedModel(preprocessing_of(), lambda columns: np.where(columns["user_id"] == 0, bad, 0.5))
    rows = pd.DataFrame({"user_id": ["a"] * 5000 + ["?"], "item_id": "a"})
    assert (model.predict(rows[:5000]) == 0.5).all()
    with pytest.raises(DataError, match="row 5,001 is not a finite number; its features are too large"):
        model.predict(rows)


def test_from_python_what_was_not_read_as_it_stands_is_a_warning(caplog):
    model = ServedModel(preprocessing_of(YEAR), lambda columns: np.full(len(columns["user_id"]), 0.5))
    model.predict(pd.DataFrame({"user_id": ["a ", "new"], "item_id": "a", "year": [1e300, np.inf]}))
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "user_id: 1 rows have an id with surrounding blanks, which were removed",
        "year: 1 rows have an infinite number, which counts as missing",
        "year: 1 numbers are far outside the training range",
        "user_id: 1 rows have values that training never saw",
    ]

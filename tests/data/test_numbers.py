import polars as pl
import pytest

from recbole_clickprompt.data.numbers import parse_numbers


def test_numbers_are_read_with_blanks_and_signs():
    parsed = parse_numbers(pl.Series(["1", " -2.5 ", "+3", "1e3", "0"]))
    assert parsed.values.to_list() == [1, -2.5, 3, 1000, 0]
    assert not parsed.infinite.any()
    assert not parsed.invalid.any()


@pytest.mark.parametrize(
    "word", [None, "", " ", "NA", "na", "NaN", "-nan", "-", "\\N", "null", "None", "<NA>", "#N/A"]
)
def test_words_for_a_missing_number_are_missing(word):
    parsed = parse_numbers(pl.Series(["1", word], dtype=pl.String))
    assert parsed.values.to_list() == [1, None]
    assert parsed.infinite.to_list() == parsed.invalid.to_list() == [False, False]


@pytest.mark.parametrize("word", ["inf", "-inf", "+Inf", "Infinity", "1e999"])
def test_infinity_is_reported_and_is_no_value(word):
    parsed = parse_numbers(pl.Series(["1", word]))
    assert parsed.values.to_list() == [1, None]
    assert parsed.infinite.to_list() == [False, True]
    assert not parsed.invalid.any()


@pytest.mark.parametrize("word", ["one", "1,5", "0x10", "1_000", "$3", "nan1"])
def test_text_is_no_number(word):
    parsed = parse_numbers(pl.Series(["1", word]))
    assert parsed.values.to_list() == [1, None]
    assert parsed.invalid.to_list() == [False, True]


def test_no_rows_are_no_numbers():
    parsed = parse_numbers(pl.Series([], dtype=pl.String))
    assert len(parsed.values) == len(parsed.infinite) == len(parsed.invalid) == 0

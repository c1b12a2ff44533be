"""Faults in text tables are told by file, line and column."""

import polars as pl
import pytest

from recbole_clickprompt.data.convert.table import read_lines
from recbole_clickprompt.errors import DataError


def test_lines_become_columns_and_empty_fields_are_missing():
    table = read_lines("1::a::\n2::b,c::x\r\n", "r.dat", "::", ("id", "title", "tag"))
    assert table.frame.rows() == [("1", "a", None), ("2", "b,c", "x")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1::a\n2::b::c\n3\n", r"r.dat, line 2: 3 fields where 2 are expected, id::title"),
        ("1::a\n\n3::c\n", r"r.dat, line 2: 1 fields where 2 are expected"),
        ("\n", "r.dat is empty"),
        ("", "r.dat is empty"),
    ],
)
def test_ragged_and_empty_lines_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        read_lines(text, "r.dat", "::", ("id", "title"))


def test_numbers_are_checked_by_line_and_column():
    table = read_lines("1::5\n2::five\n3::x\n", "r.dat", "::", ("id", "rating"))
    with pytest.raises(DataError, match=r"r.dat, line 2, column rating: 'five' is no number \(and 1 more rows\)"):
        table.with_numbers(pl.Float64, "rating")
    with pytest.raises(DataError, match=r"r.dat, line 1, column id: '1.5' is no whole number"):
        read_lines("1.5::5\n", "r.dat", "::", ("id", "rating")).with_numbers(pl.Int64, "id")
    with pytest.raises(DataError, match=r"column rating: 'inf' is no number"):
        read_lines("1::inf\n", "r.dat", "::", ("id", "rating")).with_numbers(pl.Float64, "rating")
    assert read_lines("7::5\n8::\n", "r.dat", "::", ("id", "r")).with_numbers(pl.Float64, "r").frame[
        "r"
    ].to_list() == [
        5.0,
        None,
    ]


def test_missing_repeated_and_unknown_ids_are_refused():
    table = read_lines("1::a\n1::b\n::c\n", "u.dat", "::", ("id", "x"))
    with pytest.raises(DataError, match=r"u.dat, line 2, column id: '1' is there twice"):
        table.refuse_repeated("id")
    with pytest.raises(DataError, match=r"u.dat, line 3, column id: a value is missing"):
        table.refuse_missing("id")
    ratings = read_lines("1\n9\n", "r.dat", "::", ("id",))
    with pytest.raises(DataError, match=r"r.dat, line 2, column id: '9' is not in u.dat"):
        ratings.refuse_unknown("id", table)

"""Faults in text tables are told by file, line and column."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.data.convert.table import decode, read_csv, read_lines, refuse_mojibake
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


def test_csv_values_keep_quotes_separators_and_line_breaks():
    table = read_csv('id,title\n1,"a ""b"", c\nd"\n2,None\n3,\n', "x.csv")
    assert table.frame.rows() == [("1", 'a "b", c\nd'), ("2", "None"), ("3", None)]
    assert [table.line_of(row) for row in range(3)] == [2, 4, 5]


def test_csv_with_escapes_and_words_for_missing():
    table = read_csv(
        '"id";"t"\n"1";"a \\"b\\"; c"\n"2";NULL\n', "x.csv", separator=";", escape="\\", missing=("NULL",)
    )
    assert table.frame.rows() == [("1", 'a "b"; c'), ("2", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.csv is empty"),
        ("id,t\n", "x.csv has a header and no rows"),
        ("id,t,id\n1,2,3\n", r"x.csv, line 1, column 3: 'id' is in the header twice"),
        ("id,u\n1,2\n", r"x.csv, line 1: there is no column 't'; there are id, u"),
        ("id,t\n1,2\n1,2,3\n", r"x.csv, line 3: 3 values where the header has 2 columns"),
        ("id,t\n1,2\n\n1\n", r"x.csv, line 4: 1 values where the header has 2 columns"),
        ('id,t\n1,"a\nb"\n2,"never closed\n3,x\n4,y\n', r"x.csv, line 4: a quote is opened and never closed"),
        ('id,t\n1,"a\n2,"b"\n', r"x.csv, line 2: a quote is closed in the middle of a value"),
        ('id,t\n1,"' + "x" * 200_000 + '"\n', r"x.csv, line 2: a value has more than 131072 characters"),
    ],
)
def test_faults_of_csv_are_told_by_line(text, message):
    with pytest.raises(DataError, match=message):
        read_csv(text, "x.csv", required=("id", "t"))


def test_an_unclosed_quote_is_found_where_quotes_are_escaped():
    with pytest.raises(DataError, match=r"x.csv, line 2: 3 values where the header has 2 columns"):
        read_csv('"id";"t"\n"1";"a\n"2";"b"\n"3";"c"\n', "x.csv", separator=";", escape="\\")
    with pytest.raises(DataError, match=r"x.csv, line 3: a quote is opened and never closed, here or before"):
        read_csv('"id";"t"\n"1";"a \\"b\\""\n"2";"b\n3;c\n', "x.csv", separator=";", escape="\\")


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6))
def test_any_csv_that_python_writes_is_read_back(rows):
    import csv
    import io

    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("id", "t"), *rows])
    table = read_csv(stream.getvalue(), "x.csv")
    assert table.frame.rows() == [tuple(value or None for value in row) for row in rows]


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


def test_another_encoding_a_nul_and_mojibake_are_refused_by_place():
    with pytest.raises(DataError, match=r"x.csv, line 2, column 4: byte 0xe9 is no utf-8"):
        decode("ab\ncafé".encode("latin-1"), "x.csv", "utf-8")
    with pytest.raises(DataError, match=r"x.csv, line 2, column 2: a NUL character"):
        decode(b"ab\nc\0", "x.csv", "utf-8")
    for text in ("ab\ncaf\u00c3\u00a9", "ab\ncaf\ufffd", "ab\nit\u00e2\u20ac\u2122s"):
        with pytest.raises(DataError, match=r"x.csv, line 2, column [34]: .* saved in another encoding"):
            refuse_mojibake(text, "x.csv")
    refuse_mojibake("Misérables, Les; Été; Ångström; São Ã", "x.csv")
    assert decode("\ufeffid".encode(), "x.csv", "utf-8") == "id"

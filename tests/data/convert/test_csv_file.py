"""Values of csv files as they stand, and faults by line."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.errors import DataError


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
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("id", "t"), *rows])
    table = read_csv(stream.getvalue(), "x.csv")
    assert table.frame.rows() == [tuple(value or None for value in row) for row in rows]

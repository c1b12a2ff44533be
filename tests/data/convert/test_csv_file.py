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
        ('id,"t\n1,a\n2,b"\n', r"x.csv, line 1, column 2: a quote opens here and closes lines later"),
        ('id,t\n1,"a\n2,"b"\n', r"x.csv, line 2: a quote is closed in the middle of a value"),
        ('id,t\n1,"' + "x\n" * 200_000, r"x.csv, line 2: a quote is opened and never closed"),
        ('id,t\n1,"a\nb"\n2,"c\r\nd","e\n3,x\n', r"x.csv, line 5: a quote is opened and never closed"),
    ],
)
def test_faults_of_csv_are_told_by_line(text, message):
    with pytest.raises(DataError, match=message):
        read_csv(text, "x.csv", required=("id", "t"))


def test_without_quoting_a_quote_is_a_character_like_any_other():
    table = read_csv('id,t\n"1,"a" 5" b\n2,"\n\n3,c"\n', "x.csv", quoting=False)
    assert table.frame.rows() == [('"1', '"a" 5" b'), ("2", '"'), ("3", 'c"')]
    assert [table.line_of(row) for row in range(3)] == [2, 3, 5]
    with pytest.raises(DataError, match=r"x.csv, line 2: 3 values where the header has 2 columns"):
        read_csv('id,t\n1,"a,b"\n', "x.csv", quoting=False)


def test_lines_are_known_behind_a_value_of_any_length():
    table = read_csv("id,t\n1," + "x" * 200_000 + "\r\n2,b\r\n", "x.csv")
    assert table.line_of(1) == 3
    for value in ("x" * 200_000, "x\n" * 200_000):
        table = read_csv(f'id,t\n1,"{value}"\n2,b\n', "x.csv", number_column="id")
        assert table.frame["t"].to_list() == [value, "b"]


SWALLOWED = {
    "rows in the middle": 'u,i,y,t\n1,2,0,"good\n3,4,1,fine\n\n5,6,0,so"\n7,8,1,x\n',
    "the next row": 'u,i,y,t\n1,2,0,"good\n3,4,1,so"\n',
    "rows around a middle value": 'u,t,i,y\n1,"good,2,0\n3,so",4,1\n',
    "rows with quoted values": 'u,i,y,t\n1,2,0,"a, b"\n"x, y",2,0,"good\n5,6,0,so"\n',
    "a row without a label": 'u,i,y,t\n1,2,0,"good\n3,4,,fine\n5,6 so"\n',
    "rows of other line ends": 'u,i,y,t\r\n1,2,0,"good\r\n3,4,true,fine\r\n5,6,0,so"\r\n',
    "rows of old line ends": 'u,i,y,t\r1,2,0,"good\r3,4,NA,fine\r5,6,0,so"\r',
}


@pytest.mark.parametrize("case", SWALLOWED)
def test_rows_behind_a_stray_quote_are_an_error_by_its_line(case):
    line = 3 if case == "rows with quoted values" else 2
    with pytest.raises(DataError, match=rf"x.csv, line {line}: a quote opens here and closes in line .* with "):
        read_csv(SWALLOWED[case], "x.csv", number_column="y")


def test_texts_of_several_lines_are_no_rows():
    texts = ["one\ntwo", "a, b, c\nd, e, f", "1\n2\n3", "x\n\ny, z", 'a ""quoted"" word,\nand, more, of it']
    body = "".join(f'{n},2,0,"{text}"\n' for n, text in enumerate(texts))
    table = read_csv(f"u,i,y,t\n{body}", "x.csv", number_column="y")
    assert table.frame["t"].to_list() == [text.replace('""', '"') for text in texts]


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


WORDS = st.sampled_from(["a", '"a', 'a"', '"', '""', '"a"', "", '5" x', "b c"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, st.sampled_from("01"), WORDS), min_size=1, max_size=8))
def test_unquoted_rows_with_any_quotes_are_all_read_or_an_error(rows):
    text = "\n".join("\t".join(row) for row in [("u", "i", "y", "t"), *rows]) + "\n"
    try:
        table = read_csv(text, "x.tsv", separator="\t", number_column="y")
    except DataError:
        table = read_csv(text, "x.tsv", separator="\t", quoting=False)
        assert table.frame.rows() == [tuple(value or None for value in row) for row in rows]
    assert len(table.frame) == len(rows)


def test_rows_behind_a_stray_quote_are_found_where_quotes_are_escaped():
    text = '"id";"t";"y"\n"1";"a \\"b\\";c";"1"\n"2";"gift;"3"\n"4";"b";"5"\n'
    with pytest.raises(DataError, match=r"x.csv, line 3: "):
        read_csv(text, "x.csv", separator=";", escape="\\", number_column="y")
    text = '"id";"t";"y"\n1;"gift;2\n3;idea";4\n5;x;6\n'
    with pytest.raises(
        DataError, match=r"x.csv, line 2: a quote opens here and closes in line 3, with whole rows"
    ):
        read_csv(text, "x.csv", separator=";", escape="\\", number_column="y")
    text = '"id";"t";"y"\n"1";"a \\";\nc";"1"\n"2";"b\n;\n";"3"\n'
    table = read_csv(text, "x.csv", separator=";", escape="\\", number_column="y")
    assert table.frame["t"].to_list() == ['a ";\nc', "b\n;\n"]
    assert table.notes == (
        "x.csv: 2 quoted values span lines, the first from line 2 to line 3; a stray quote would "
        "look like this: see that no row is inside",
    )

"""Text files of rows: as many rows come out as stand in them, and each fault is named by its line."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.serving import csv_rows
from recbole_clickprompt.serving.csv_rows import CsvRows


def read(content, *, quoting=True, delimiter=",", block=1 << 20):
    path = Path("rows.csv")
    path.write_bytes(content)
    source = CsvRows(path, delimiter, quoting=quoting, block=block)
    rows = [tuple(row.values()) for table in source.tables() for row in table.to_pylist()]
    assert source.rows == len(rows)
    return rows


QUOTED_LINES = b'u,i,d\nu1,i1,"gift idea\nu2,i2,phone\nu3,i3,for mum"\nu4,i4,pc\n'
GOOD = {
    "a quote inside a value": (b'a,b\n5" pipe,x"2"\n', [('5" pipe', 'x"2"')]),
    "a quoted delimiter and a doubled quote": (b'a,b\n"1,2","say ""hi"""\n', [("1,2", 'say "hi"')]),
    "a quoted value that spans lines": (b'a,b\n1,"x\n\ny"\n3,4\n', [("1", "x\n\ny"), ("3", "4")]),
    "a carriage return in quotes": (b'a,b\n1,"x\ry"\n', [("1", "x\ry")]),
    "a carriage return before each line feed": (b"a,b\r\n1,2\r\n\r\n3,4", [("1", "2"), ("3", "4")]),
    "a byte order mark": (b"\xef\xbb\xbfa,b\n1,2\n", [("1", "2")]),
    "a quoted header": (b'"a","b, c"\n1,2\n', [("1", "2")]),
    "empty values": (b'a,b\n,\n"",x\n', [(None, None), (None, "x")]),
    "empty lines": (b"\na,b\n\n1,2\n\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
    "a blank as a value": (b"a,b\n ,\n", [(" ", None)]),
}


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
@pytest.mark.parametrize("case", GOOD)
def test_every_row_comes_out_once(case, block):
    content, expected = GOOD[case]
    assert read(content, block=block) == expected


BAD = {
    "rows in a quoted value": (QUOTED_LINES, "line 2: a quote opens here, .* ends in line 4; .*pass --no-quoting"),
    "one row in a quoted value": (b'a,b\n1,2\n1,"x\n2,y"\n', "line 3: a quote opens here, and .* ends in line 4"),
    "rows in a second quoted value": (b'a,b,c\n1,"x\ny","z\n4,5,6"\n', "line 3: a quote opens here, .* in line 4"),
    "never closed": (b'a,b\n1,2\n3,"4\n5\n', "line 3: a quote opens here and is never closed; .*--no-quoting"),
    "the second one never closed": (b'a,b\n"1\n2","3\n', "line 3: a quote opens here and is never closed"),
    "never closed in a header": (b'a,"b\n1,2\n', "line 1: a quote opens here and is never closed"),
    "rows in a quoted header": (b'a,"b\n1,2\n3,b"\n5,6\n', "line 1: a quote opens in the header and is"),
    "delimiters in quotes": (b'a,b\n"1,2"\n', "line 2: 1 values where the header has 2: .*; .*pass --no-quoting"),
    "never closed in a long file": (b'a,b\n1,"2\n' + b"3\n" * 99999, "line 2: a quote opens here and is never"),
    "closed inside a value": (b'a,b\n1,2\n3,"4"x\n', "line 3: a quote opens here and is closed in the middle"),
    "closed far away": (b'a,b\n1,"2\n3\n"4",5\n', "line 2: .* closed in the middle of a value in line 4"),
    "too long": (b"a,b\n1,2\n\n1,2,3\n", "line 4: 3 values where the header has 2: 'a', 'b'"),
    "too short": (b"a,b\n1,2\n3\n", "line 3: 1 values where the header has 2: 'a', 'b'"),
    "too short behind a quote": (b'a,b\n1,"x\ny"\n3\n', "line 4: 1 values where the header has 2"),
    "a blank line": (b"a,b\n1,2\n  \n", "line 3: 1 values where the header has 2"),
    "a NUL": (b"a,b\n1,2\n3,x\0\n", "line 3: a NUL character"),
    "a NUL in a header": (b"a,b\0\n1,2\n", "line 1: a NUL character"),
    "latin-1": (b"a,b\n1,2\n3,\xe9\n", "line 3: byte 0xe9 is not UTF-8"),
    "latin-1 in a quoted value": (b'a,b\n1,"2\n\xe9"\n', "line 3: byte 0xe9 is not UTF-8"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "line 1: a NUL character; .* not UTF-8"),
    "a carriage return in a row": (b"a,b\n1,2\n3,x\ry\n", "line 3: a carriage return inside a row"),
    "carriage returns for line feeds": (b"a,b\r1,2\r", "line 1: a carriage return inside a row"),
    "empty lines alone": (b"\n\n", "is empty; it must hold a header and rows"),
}  # fmt: skip


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_named_by_its_line(case, block):
    content, message = BAD[case]
    with pytest.raises(DataError, match=message) as error:
        read(content, block=block)
    assert "\0" not in str(error.value)


def test_without_quoting_a_quote_is_an_ordinary_character():
    rows = read(QUOTED_LINES, quoting=False)
    assert rows == [
        ("u1", "i1", '"gift idea'),
        ("u2", "i2", "phone"),
        ("u3", "i3", 'for mum"'),
        ("u4", "i4", "pc"),
    ]


def test_without_quoting_rows_are_held_to_the_header_too():
    with pytest.raises(DataError, match="line 3: 3 values where the header has 2: '\"a\"', 'b'"):
        read(b'"a",b\n1,2\n"1,2",3\n', quoting=False)


def test_values_may_be_long_up_to_a_limit(monkeypatch):
    for value in ("x" * 200_000, "x\n" * 200_000):
        assert read(f'a,b\n1,"{value}"\n3,4\n'.encode()) == [("1", value), ("3", "4")]
    monkeypatch.setattr(csv_rows, "_LONGEST_VALUE", 300_000)
    with pytest.raises(DataError, match="line 2: a value has more than 300,000 characters; its quote may never"):
        read(b'a,b\n1,"' + b"3\n" * 400_000)


def test_empty_lines_are_counted():
    Path("rows.csv").write_bytes(b'a,b\n\n1,"x\n\ny"\n\r\n3,4\n\n')
    source = CsvRows(Path("rows.csv"), ",", quoting=True, block=4)
    assert sum(len(table) for table in source.tables()) == 2
    assert source.empty_lines == 3


def test_a_gzip_file_that_is_cut_off_is_an_error():
    content = gzip.compress(b"a,b\n" + bytes(str(list(range(9999))), "ascii").replace(b", ", b",1\n"))
    Path("rows.csv.gz").write_bytes(content[:-2000])
    with pytest.raises(DataError, match="rows.csv.gz cannot be read: Compressed file ended"):
        list(CsvRows(Path("rows.csv.gz"), ",", quoting=True, block=100).tables())
    Path("rows.csv.gz").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match="rows.csv.gz cannot be read: Not a gzipped file"):
        CsvRows(Path("rows.csv.gz"), ",", quoting=True, block=100)


@settings(max_examples=200, deadline=None)
@given(st.text('ab,"\n\r ', max_size=30), st.integers(1, 20), st.booleans())
def test_rows_are_those_of_pythons_reader_or_there_is_an_error(tmp_path_factory, text, block, quoting):
    path = tmp_path_factory.getbasetemp() / "random.csv"
    path.write_text(f"a,b\n{text}", newline="", encoding="utf-8")
    try:
        rows = [
            tuple(row.values())
            for table in CsvRows(path, ",", quoting=quoting, block=block).tables()
            for row in table.to_pylist()
        ]
    except DataError:
        return
    plain = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
    expected = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True, quoting=plain) if row]
    assert rows == [tuple(value or None for value in row) for row in expected]

"""What is written is read back, value for value, by RecBole's reader and by ours."""

import re
from collections import defaultdict
from logging import getLogger
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource

from recbole_clickprompt.data.convert.atomic import LONGEST_TEXT, AtomicWriter, write_atomic
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.files import new_folder
from recbole_clickprompt.host.atomic_reader import read_atomic

TYPES = {"item_id": "token", "title": "token", "price": "float", "tags": "token_seq"}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NASTY = st.text(st.sampled_from("\"'\t\n\r ,;\\#aé\u2028\x85\ufeff"), max_size=12)
NA_WORDS = {"", "None", "NA", "null", "NULL", "nan", "NaN", "N/A", "n/a", "#N/A", "<NA>", "#NA", "-nan", "-NaN",
            "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN", "#N/A N/A"}  # fmt: skip
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def recboles_reader(path):
    """The columns of an atomic file as RecBole's own ``Dataset._load_feat`` reads them."""
    dataset = Dataset.__new__(Dataset)
    dataset.logger = getLogger("test")
    dataset.field2source, dataset.field2type, dataset.field2seqlen = {}, {}, {}
    dataset.field2bucketnum = {}
    keys = {"field_separator": "\t", "seq_separator": " ", "encoding": "utf-8"}
    dataset.config = defaultdict(lambda: None, keys)
    return Dataset._load_feat(dataset, str(path), FeatureSource.ITEM)


def our_reader(path, *, quoted=False):
    return read_atomic(Path(path), separator="\t", encoding="utf-8", quoted=quoted, wanted=lambda field: True)


def frame(titles):
    rows = len(titles)
    return pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(rows)],
            "title": pl.Series(titles, dtype=pl.String),
            "price": [n / 3 for n in range(rows)],
            "tags": ["a b"] * rows,
        }
    )


def texts(column):
    return [value if isinstance(value, str) else None for value in column]


def joined(title):
    """As it is written: tabs and line breaks become one blank."""
    return None if title is None else re.sub(r"[\t\n\r]+", " ", title) or None


@FEW
@given(st.lists(TEXT | NASTY | st.sampled_from(sorted(NA_WORDS)), min_size=1, max_size=8))
@example(["None", "NA", "null", "nan", ""])
@example(['"Weird Al" best of', "a\tb\r\nc", '"x"', '"', '"say ""a"""', "\r", "#", " x "])
def test_any_text_is_read_back_row_by_row(tmp_path, titles):
    write_atomic(tmp_path / "x.item", frame(titles), TYPES)
    read = our_reader(tmp_path / "x.item").frame
    assert texts(read["title"]) == [joined(title) for title in titles]
    assert read["price"].tolist() == [n / 3 for n in range(len(titles))]


@FEW
@given(st.lists(TEXT | NASTY, min_size=1, max_size=8))
def test_text_without_quotes_is_read_back_by_recboles_reader_too(tmp_path, titles):
    titles = [title.replace('"', "'") for title in titles]
    write_atomic(tmp_path / "x.item", frame(titles), TYPES)
    read = recboles_reader(tmp_path / "x.item")
    assert texts(read["title"]) == [None if title in NA_WORDS else joined(title) for title in titles]
    # pandas' Python engine may be one off in the last bit of a float
    assert read["price"].tolist() == pytest.approx([n / 3 for n in range(len(titles))], rel=1e-15)
    assert [tags.tolist() for tags in read["tags"]] == [["a", "b"]] * len(titles)


def test_quotes_swallow_no_rows(tmp_path):
    path = tmp_path / "x.item"
    lines = [f"{n}\ttitle {n}" for n in range(300)]
    lines[10], lines[200] = '10\t"Heroes', '200\tVillains"'
    path.write_text("\n".join(["item_id:token\ttitle:token", *lines]) + "\n")
    read = our_reader(path)
    assert len(read.frame) == 300
    assert read.frame["title"][[10, 11, 200]].tolist() == ['"Heroes', "title 11", 'Villains"']
    assert not read.looks_quoted


def test_csv_quoting_is_read_where_it_is_asked_for(tmp_path):
    path = tmp_path / "x.item"
    path.write_text('item_id:token\ttitle:token\tprice:float\n1\t"say ""a\tb"""\t"2.5"\n2\t"c\nd"\tNA\n')
    read = our_reader(path, quoted=True)
    assert read.frame["title"].tolist() == ['say "a\tb"', "c\nd"]
    assert read.frame["price"][0] == 2.5
    assert [read.line_of(0), read.line_of(1)] == [2, 3]
    with pytest.raises(DataError, match="line 2: 4 fields where 3 are expected.*set `quoting: csv`"):
        our_reader(path)


def test_quotes_that_look_like_csv_quoting_are_noticed(tmp_path):
    path = tmp_path / "x.item"
    path.write_text('item_id:token\ttitle:token\n1\t"House ""B"""\n2\tx\n')
    assert our_reader(path).looks_quoted
    assert our_reader(path).frame["title"][0] == '"House ""B"""'
    assert not our_reader(path, quoted=True).looks_quoted


def test_texts_that_are_changed_are_counted(tmp_path):
    notes = write_atomic(tmp_path / "x.item", frame(["x" * 10**6, "short", "a\tb", "c\nd"]), TYPES)
    assert notes == [
        "x.item: 1 values of title had more than 2000 characters and were cut",
        "x.item: 2 values of title held tabs or line breaks, which became blanks",
    ]
    assert texts(our_reader(tmp_path / "x.item").frame["title"]) == ["x" * LONGEST_TEXT, "short", "a b", "c d"]


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ("x" * (LONGEST_TEXT + 1), "is an id of more than 2000 characters"),
        ("a\tb", "'a\\\\tb' is an id that holds a tab or a line break"),
        ("a\nb", "is an id that holds a tab or a line break"),
        ("a\0b", "holds a NUL character"),
    ],
)
def test_an_id_is_never_changed(tmp_path, item, fault):
    rows = frame(["a", "b"]).with_columns(item_id=pl.Series(["i", item]))
    with pytest.raises(DataError, match=f"x.item, row 2, column item_id: .*{fault}"):
        write_atomic(tmp_path / "x.item", rows, TYPES)


def test_a_nul_is_refused_with_its_row(tmp_path):
    with pytest.raises(DataError, match=r"x.item, row 3, column title: .* holds a NUL character"):
        write_atomic(tmp_path / "x.item", frame(["a", "b", "c\0"]), TYPES)


def test_batches_are_one_file_and_integers_stay_exact(tmp_path):
    times = [978300760 * 10**9 + n for n in range(4)]
    with AtomicWriter(tmp_path / "x.inter", {"user_id": "token", "timestamp": "float"}) as writer:
        for time in times:
            writer.write(pl.DataFrame({"user_id": ["u"], "timestamp": [time]}))
    assert writer.rows == 4
    assert (tmp_path / "x.inter").read_text().splitlines()[1:] == [f"u\t{time}" for time in times]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "out" / "x") as work:
        (work / "x.inter").write_text("rows")
        assert not (tmp_path / "out" / "x").exists()
    assert (tmp_path / "out" / "x" / "x.inter").read_text() == "rows"
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out" / "y") as work:
        (work / "y.inter").write_bytes((work / "none").read_bytes())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x"]


def test_a_folder_that_is_there_is_never_replaced(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"x already exists; remove it"), new_folder(tmp_path / "x"):
        pass


FAULTS = {
    "": "is empty; its first line must list the fields",
    "item_id:token\ttitle\n1\ta\n": r"line 1, column 2: 'title' must be a name, a colon and one of token",
    "item_id:token\ttitle:text\n1\ta\n": r"line 1, column 2: 'title:text' must be",
    "item_id:token\titem_id:token\n1\ta\n": r"line 1, column 2: 'item_id' occurs twice in the header",
    "item_id:token\ttitle:token\n1\ta\n2\n": r"line 3: 1 fields where 2 are expected",
    "item_id:token\ttitle:token\n1\ta\tb\n": r"line 2: 3 fields where 2 are expected",
    "item_id:token\tprice:float\n1\t2.5\n2\tcheap\n": r"line 3, column price:float: 'cheap' is not a number",
    "item_id:token\ttitle:token\n1\ta\n2\tb\0c\n": r"line 3, column 4: a NUL character",
    "item_id:token,title:token\n1,a\n": r"line 1, column 1: .*separated by ',', set field_separator",
    "item_id:token   title:token\n1   a\n": r"separated by '   ', set field_separator",
    b"item_id:token\ttitle:token\n1\tcaf\xe9\n": r"line 2, column 6: byte 0xe9 is no utf-8",
}


@pytest.mark.parametrize("content", FAULTS)
def test_a_fault_in_an_atomic_file_is_told_by_line_and_column(tmp_path, content):
    path = tmp_path / "x.item"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=FAULTS[content]):
        our_reader(path)


def test_missing_numbers_may_be_words(tmp_path):
    path = tmp_path / "x.item"
    path.write_text("item_id:token\tprice:float\n1\tNA\n2\t\n3\t-\n4\t1e3\n5\tinf\n")
    read = our_reader(path)
    price = read.frame["price"]
    assert np.isnan(price[[0, 1, 2, 4]]).all()
    assert price[3] == 1000
    assert read.infinite == {"price": [4]}


@pytest.mark.parametrize(
    "header", ["item_id:token\ttitle:token\tprice:float", '"item_id:token"\t"title:token"\t"price:float"']
)
def test_a_stray_quote_in_a_quoted_file_is_an_error_with_its_line(tmp_path, header):
    path = tmp_path / "x.item"
    path.write_text(f'{header}\n1\t"Heroes\t1\n2\tb\t2\n3\tVillains"\t3\n4\td\t4\n')
    with pytest.raises(
        DataError, match="x.item, line 2: a quote opens here and closes in line 4, with whole rows"
    ):
        our_reader(path, quoted=True)
    path.write_text(f'{header}\n1\t"a ""b"""\t1\n')
    assert our_reader(path, quoted=True).frame["title"].tolist() == ['a "b"']


def test_a_quoted_file_without_numbers_is_held_to_its_columns(tmp_path):
    path = tmp_path / "x.item"
    path.write_text('item_id:token\ttitle:token\n1\t"Heroes\n2\tb\n3\tVillains"\n')
    with pytest.raises(DataError, match="x.item, line 2: a quote opens here"):
        our_reader(path, quoted=True)


@pytest.mark.parametrize(
    "content", ["item_id:token\ttitle:token\n1\ta\rb\n", "item_id:token\n1\r2\n", "item_id:token\r1\r"]
)
def test_a_carriage_return_inside_a_line_is_refused(tmp_path, content):
    path = tmp_path / "x.item"
    path.write_bytes(content.encode())
    with pytest.raises(
        DataError, match=r"x.item, line \d: (a carriage return inside the line|column)|must be a name"
    ):
        our_reader(path)
    path.write_bytes(b"item_id:token\ttitle:token\r\n1\ta\r\n")
    assert our_reader(path).frame["title"].tolist() == ["a"]

"""Book-Crossing: its own quoting, a join that drops rows, and a fixed shuffle."""

import csv
import zipfile

import pytest

from recbole_clickprompt.data.convert.catalog import prepare
from recbole_clickprompt.data.convert.split import shuffled, split_sizes
from recbole_clickprompt.errors import DataError

USERS = [
    '"User-ID";"Location";"Age"',
    '"1";"nyc, new york, usa";NULL',
    '"2";"köln, \\"nrw\\", germany";"18"',
    '"3";"x";"41"',
]
BOOKS = [
    '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S"',
    '"A";"Tom &amp; \\"Jerry\\"; a tale";"NULL";"2002";"House &amp; Co";"http://x"',
    '"B";"None";"Ann";"0";"\x81";"http://x"',
]
RATINGS = [
    '"User-ID";"ISBN";"Book-Rating"',
    *(f'"{1 + n % 3}";"{"ABC"[n % 4 % 3]}";"{n % 11}"' for n in range(40)),
]


def dump(path, users=USERS, books=BOOKS, ratings=RATINGS):
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in (("Users", users), ("Books", books), ("Book-Ratings", ratings)):
            content = "\r\n".join(lines).encode("cp1252", errors="surrogateescape") if name != "Books" else None
            content = content or "\r\n".join(lines).encode("latin-1")
            archive.writestr(f"BX-{name}.csv", content)
    return path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def test_rows_without_a_book_are_left_out_and_the_rest_is_shuffled(tmp_path):
    counts = prepare("book-crossing", dump(tmp_path / "BX-CSV-Dump.zip"), tmp_path / "out")
    every = [[str(1 + n % 3), "ABC"[n % 4 % 3], str(n % 11)] for n in range(40)]
    joined = [row for row in every if row[1] in "AB"]
    folder = tmp_path / "out" / "book-crossing"
    assert rows_of(folder / "book-crossing.inter") == every
    found = [row for part in ("train", "valid", "test") for row in rows_of(folder / f"book-crossing.{part}.inter")]
    assert found == [joined[i] for i in shuffled(len(joined), 42)]
    assert (counts.raw_rows, counts.rows, counts.parts) == (40, len(joined), split_sizes(len(joined)))
    assert counts.positive == sum(int(row[2]) >= 5 for row in joined)
    assert any("10 ratings are left out, as BX-Books.csv lacks" in note for note in counts.notes)
    assert rows_of(folder / "book-crossing.item") == [
        ["A", 'Tom & "Jerry"; a tale', "NULL", "2002", "House & Co"],
        ["B", "None", "Ann", "0", "\x81"],
    ]
    assert rows_of(folder / "book-crossing.user")[:2] == [
        ["1", "nyc, new york, usa", ""],
        ["2", 'köln, "nrw", germany', "18"],
    ]
    # users 3, locations 3, ages 2, books 2, titles 2, authors 2, years 2, publishers 2
    assert counts.vocabulary == 18


def test_the_shuffle_is_fixed():
    assert shuffled(6, 42).tolist() == [0, 1, 5, 2, 4, 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"ratings": [*RATINGS[:2], '"1";"A";"ten"']},
            r"BX-Book-Ratings.csv, line 3, column rating: 'ten' is no whole",
        ),
        ({"ratings": [*RATINGS[:2], '"1";"A"']}, r"BX-Book-Ratings.csv, line 3: 2 values where the header has 3"),
        ({"users": ['"User-ID";"Location"', '"1";"x"']}, r"BX-Users.csv, line 1: there is no column 'Age'"),
        ({"books": [*BOOKS, '"C";"never closed']}, r"BX-Books.csv, line 4: 2 values|never closed"),
    ],
)
def test_broken_dumps_leave_nothing_behind(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        prepare("book-crossing", dump(tmp_path / "BX-CSV-Dump.zip", **changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()

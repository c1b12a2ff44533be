"""Every kind of bad input through ``recbole-cp prepare``: told by its place, and nothing left half-written."""

import csv
import gzip
import zipfile
from pathlib import Path

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.data.convert import catalog
from recbole_clickprompt.errors import DataError

from ..data.convert.lookalike import ml_1m
from ..data.convert.test_bookcrossing import BOOKS, RATINGS, dump
from ..data.convert.test_reviews import amazon_rows, write_amazon, write_goodreads

MOVIES = "".join(f"{m}::Film {m} (1990)::Drama\n" for m in range(1, 61)).encode()
SMALL = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n"
    + b"".join(b"%d,1,%d,9\n" % (n, 1 + n % 5) for n in range(30)),
    "movies.csv": b"movieId,title,genres\n1,A,War\n",
}
REVIEWS, BOOKS_FILE = "goodreads_interactions_dedup.json.gz", "goodreads_books.json.gz"
META = "meta_Toys_and_Games.json.gz"


def changed_lines(folder, file, change):
    path = folder / file
    lines = gzip.decompress(path.read_bytes()).splitlines()
    change(lines)
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    return folder


def line(number, old, new):
    def change(lines):
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new, 1)

    return change


def films(path, **files):
    return ml_1m(path / "ml-1m.zip", **files)


def small(path, **changes):
    for name, content in SMALL.items():
        (path / name).write_bytes(changes.get(name.removesuffix(".csv"), content))
    return path


def goodreads(path, file, change):
    write_goodreads(path / "raw")
    return changed_lines(path / "raw", file, change)


def toys(path, file, change):
    return changed_lines(write_amazon(path / "raw", amazon_rows()), file, change)


def toys_csv(path, text):
    folder = write_amazon(path / "raw", amazon_rows(), "csv")
    lines = (folder / "Toys_and_Games.csv").read_bytes().split(b"\n")
    (folder / "Toys_and_Games.csv").write_bytes(b"\n".join([lines[0], text, *lines[1:]]))
    return folder


def cut_off(path):
    whole = films(path).read_bytes()
    (path / "ml-1m.zip").write_bytes(whole[: len(whole) // 2])
    return path / "ml-1m.zip"


def outside(path):
    with zipfile.ZipFile(path / "ml-1m.zip", "w") as archive:
        archive.writestr("../../ratings.dat", "1::1::5::1\n")
    return path / "ml-1m.zip"


def books(path, **changed):
    return dump(path / "BX-CSV-Dump.zip", **changed)


CASES = {
    "truncated archive": ("ml-1m", cut_off, "ml-1m.zip is cut off or damaged"),
    "a zip that unpacks outside": ("ml-1m", outside, "'../../ratings.dat' leads outside the archive"),
    "empty file": ("ml-latest-small", lambda p: small(p, movies=b""), "movies.csv is empty"),
    "empty ratings": ("ml-1m", lambda p: films(p, ratings=b""), "ratings.dat is empty"),
    "wrong encoding": (
        "ml-latest-small",
        lambda p: small(p, movies=SMALL["movies.csv"] + "2,Café,War\n".encode("latin-1")),
        "movies.csv, line 3, column 6: byte 0xe9 is no utf-8",
    ),
    "wrong encoding in json": (
        "goodreads",
        lambda p: goodreads(p, REVIEWS, line(2, b'"user_id": "', b'"user_id": "\xe9')),
        f"{REVIEWS}, line 2, column 14: byte 0xe9 is no utf-8",
    ),
    "wrong encoding in item json": (
        "amazon-toys-games-18",
        lambda p: toys(p, META, line(1, b"Best", b"B\xc3")),
        f"{META}, line 1, column 29: byte 0xc3 is no utf-8",
    ),
    "mojibake": (
        "ml-1m",
        lambda p: films(p, movies=MOVIES.replace(b"Film 7", "Café".encode())),
        "movies.dat, line 7, column 7: 'Ã©': the file has been saved in another encoding",
    ),
    "ragged rows": (
        "ml-1m",
        lambda p: films(p, movies=MOVIES + b"61::B\n"),
        "movies.dat, line 61: 2 fields where 3",
    ),
    "ragged csv": (
        "ml-latest-small",
        lambda p: small(p, movies=b"movieId,title,genres\n1,A,War\n2,B\n"),
        "movies.csv, line 3: 2 values where the header has 3 columns",
    ),
    "ragged reviews": (
        "amazon-toys-games-18",
        lambda p: toys_csv(p, b"B1,A1,5.0"),
        "csv, line 2: 3 fields where 4",
    ),
    "duplicate header": (
        "ml-latest-small",
        lambda p: small(p, movies=b"movieId,title,title\n1,A,War\n"),
        "movies.csv, line 1, column 3: 'title' is in the header twice",
    ),
    "non-numeric rating": (
        "ml-latest-small",
        lambda p: small(p, ratings=SMALL["ratings.csv"] + b"1,1,good,9\n"),
        "ratings.csv, line 32, column rating: 'good' is no number",
    ),
    "non-numeric rating in json": (
        "amazon-toys-games-18",
        lambda p: toys(p, "Toys_and_Games.json.gz", line(3, b'"overall": ', b'"overall": "x", "o": ')),
        "Toys_and_Games.json.gz, line 3, field overall: 'x' is no double",
    ),
    "infinite rating": (
        "amazon-toys-games-18",
        lambda p: toys_csv(p, b"B1,A1,inf,1"),
        "column overall: 'inf' is no",
    ),
    "non-numeric time": (
        "amazon-toys-games-18",
        lambda p: toys_csv(p, b"B1,A1,5.0,soon"),
        "Toys_and_Games.csv, line 2, column unixReviewTime: 'soon' is no whole number",
    ),
    "an id that the item file lacks": (
        "ml-latest-small",
        lambda p: small(p, ratings=SMALL["ratings.csv"] + b"1,77,5,9\n"),
        "ratings.csv, line 32, column item_id: '77' is not in movies.csv",
    ),
    "an id that the user file lacks": (
        "ml-1m",
        lambda p: films(p, ratings=b"1::1::5::978300000\n99::1::5::978300000\n"),
        "ratings.dat, line 2, column user_id: '99' is not in users.dat",
    ),
    "a tab in an unquoted field": (
        "ml-100k",
        lambda p: hundred_k(p),
        "u.data, line 2: 5 fields where 4 are expected",
    ),
    "a newline in an unquoted field": (
        "ml-1m",
        lambda p: films(p, movies=MOVIES.replace(b"Film 7", b"Film\n7")),
        "movies.dat, line 7: 2 fields where 3 are expected",
    ),
    "unclosed quote": (
        "ml-latest-small",
        lambda p: small(p, movies=b'movieId,title,genres\n1,"A,War\n'),
        "movies.csv, line 2: a quote is opened and never closed",
    ),
    "unclosed quote with escapes": (
        "book-crossing",
        lambda p: books(p, books=[*BOOKS, '"C";"never closed']),
        "BX-Books.csv, line 4: ",
    ),
    "NUL bytes": (
        "ml-1m",
        lambda p: films(p, movies=MOVIES.replace(b"Film 7", b"Film\x007")),
        "movies.dat, line 7, column 8: a NUL character",
    ),
    "NUL bytes in json": ("goodreads", lambda p: goodreads(p, REVIEWS, line(3, b"true", b"\0")), "line 3: a NUL"),
    "an escaped NUL in json": (
        "goodreads",
        lambda p: goodreads(p, BOOKS_FILE, line(1, b"The ", b"The\\u0000 ")),
        "column book_title: 'The\\x00 \"0\"' holds a NUL character",
    ),
    "half a json line": ("goodreads", lambda p: goodreads(p, BOOKS_FILE, line(1, b"}]", b"")), "line 1, column"),
}


def hundred_k(path):
    (path / "u.data").write_bytes(b"1\t1\t5\t9\n1\t2\t5\t\t9\n")
    (path / "u.user").write_bytes(b"1|24|M|technician|85711\n")
    (path / "u.item").write_bytes(b"|".join([b"1", b"A (1995)", b"", b"", b"", *[b"0"] * 19]) + b"\n")
    return path


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_by_its_place_and_leaves_nothing(tmp_path, capsys, case):
    name, make, message = CASES[case]
    (tmp_path / "given").mkdir()
    raw = make(tmp_path / "given")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert main(["prepare", name, "--raw", str(raw), "--out", str(tmp_path / "out")]) == 2
    (error,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert message in error
    assert not (tmp_path / "out").exists()
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}


def prepared(name, raw, capsys):
    assert main(["prepare", name, "--raw", str(raw)]) == 0
    with Path(f"dataset_atomic/{name}/{name}.item").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {row[0]: row for row in rows[1:]}, capsys.readouterr().out


def test_a_million_characters_a_tab_and_a_return_in_a_title_are_read_and_told(tmp_path, capsys):
    movies = MOVIES.replace(b"Film 7", b"x" * 10**6).replace(b"Film 8", b"Film\t8").replace(b"Film 9", b"Film\r9")
    items, out = prepared("ml-1m", films(tmp_path, movies=movies), capsys)
    assert [items[item][1] for item in "789"] == ["x" * 2000, "Film 8", "Film 9"]
    assert "1 values of movie_title had more than 2000 characters and were cut" in out


def test_books_and_toys_that_no_file_describes_are_named(tmp_path, capsys):
    def first_three(lines):
        del lines[3:]

    items, out = prepared("goodreads", goodreads(tmp_path, BOOKS_FILE, first_three), capsys)
    lacking = [item for item in items if item not in ("0", "1", "2")]
    assert (
        f"{len(lacking)} of {len(items)} books are not in goodreads_books.json, the first of them '{lacking[0]}'"
        in out
    )
    (tmp_path / "toys").mkdir()
    items, out = prepared("amazon-toys-games-18", toys(tmp_path / "toys", META, first_three), capsys)
    lacking = [item for item in items if item not in ("B0", "B1", "B2")]
    assert f"{len(lacking)} of {len(items)} items are not in meta_Toys_and_Games.json, the first of them" in out


def test_ratings_of_a_book_that_the_dump_lacks_are_named_by_line(tmp_path, capsys):
    _, out = prepared("book-crossing", books(tmp_path), capsys)
    lacking = [n for n, text in enumerate(RATINGS, 1) if ';"C";' in text]
    assert (
        f"{len(lacking)} ratings are left out, as BX-Books.csv lacks their item_id: first 'C' in "
        f"BX-Book-Ratings.csv, line {lacking[0]}, column item_id"
    ) in out


def test_published_texts_that_were_decoded_wrongly_are_kept_and_named(tmp_path, capsys):
    wrong = toys(tmp_path, META, line(1, b"Best", "Ca\u00c3\u00a9".encode()))
    items, out = prepared("amazon-toys-games-18", wrong, capsys)
    assert items["B0"][2] == '"CaÃ©" Doll'
    assert "1 values of title look as if they had been decoded wrongly and are kept" in out
    assert "of item_id 'B0'" in out


SWALLOWED_ROWS = {
    "movies": b'movieId,title,genres\n1,A,War\n9,"gift,Drama\n10,idea",Comedy\n',
    "ratings": SMALL["ratings.csv"] + b'9,"1,3,9\n10,1",3,9\n',
}


@pytest.mark.parametrize("file", SWALLOWED_ROWS)
def test_rows_behind_a_stray_quote_are_told_by_line(file, tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    small(raw, **{file: SWALLOWED_ROWS[file]})
    line = {"movies": 3, "ratings": 32}[file]
    assert main(["prepare", "ml-latest-small", "--raw", str(raw)]) == 2
    assert (
        f"{file}.csv, line {line}: a quote opens here and closes in line {line + 1}, with whole rows"
        in capsys.readouterr().err
    )


def test_no_empty_folder_is_left_where_there_was_none(tmp_path):
    raw = str(small(tmp_path, movies=b""))
    assert main(["prepare", "ml-latest-small", "--raw", raw, "--out", "new/data"]) == 2
    assert not Path("new").exists()
    Path("mine").mkdir()
    assert main(["prepare", "ml-latest-small", "--raw", raw, "--out", "mine"]) == 2
    assert list(Path("mine").iterdir()) == []


def test_no_empty_folder_is_left_where_nothing_can_be_downloaded(monkeypatch):
    def refuse(file, folder, **_):
        folder.mkdir(parents=True)
        raise DataError("no connection")

    monkeypatch.setattr(catalog, "fetch", refuse)
    assert main(["prepare", "ml-latest-small"]) == 2
    assert not Path("dataset_atomic").exists()

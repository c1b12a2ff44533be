"""Amazon and GoodReads: the core, the order and the split, from files of the publishers' form."""

import csv
import gzip
import random
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.data.convert.catalog import prepare
from recbole_clickprompt.data.convert.k_core import IdCodes, k_core
from recbole_clickprompt.errors import DataError

from .lookalike import json_lines


def rows_of(path):
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    return header, rows


def plain_core(pairs, k):
    """The k-core, by dropping one user or item after another."""
    rows = list(range(len(pairs)))
    while True:
        users, items = Counter(pairs[r][0] for r in rows), Counter(pairs[r][1] for r in rows)
        kept = [r for r in rows if users[pairs[r][0]] >= k and items[pairs[r][1]] >= k]
        if len(kept) == len(rows):
            return kept
        rows = kept


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), max_size=120), st.integers(1, 5))
def test_the_core_is_that_of_dropping_one_after_another(pairs, k):
    users, items = (np.array([p[i] for p in pairs], dtype=np.int32) for i in (0, 1))
    assert k_core(users, items, k=k, num_users=10, num_items=8).tolist() == plain_core(pairs, k)


def test_ids_are_numbered_by_first_appearance_over_batches():
    codes = IdCodes()
    assert codes.encode(pl.Series(["b", "a", "b"])).tolist() == [0, 1, 0]
    assert codes.encode(pl.Series(["c", "a"])).tolist() == [2, 1]
    assert codes.texts().to_list() == ["b", "a", "c"]


def amazon_rows(rows=900):
    rng = random.Random(1)
    return [
        (
            f"A{rng.randrange(40)}",
            f"B{int(50 * rng.random() ** 2)}",
            rng.randint(1, 5),
            1400000000 + rng.randrange(200),
        )
        for _ in range(rows)
    ]


def write_amazon(folder, rows, form="json"):
    folder.mkdir(exist_ok=True)
    if form == "json":
        json_lines(
            folder / "Toys_and_Games.json.gz",
            [
                {
                    "overall": float(r),
                    "verified": True,
                    "reviewerID": u,
                    "asin": i,
                    "style": {"Color:": "red"},
                    "reviewText": "nice\ttoy",
                    "unixReviewTime": t,
                }
                for u, i, r, t in rows
            ],
        )
    else:
        (folder / "Toys_and_Games.csv").write_text("".join(f"{i},{u},{r}.0,{t}\n" for u, i, r, t in rows))
    titles = ['"Best" Doll', "None", "x" * 5000, "", "var aPageStart = (new Date()).getTime();", "Tab\tin it"]
    meta = [
        {
            "asin": f"B{n}",
            "title": titles[n % 6],
            "brand": f"Brand {n % 4}",
            "category": ["Toys & Games", f"C{n % 3}"],
        }
        for n in range(45)
    ]
    json_lines(folder / "meta_Toys_and_Games.json.gz", [*meta, *meta[:3]])
    return folder


@pytest.mark.parametrize("form", ["json", "csv"])
def test_amazon_drops_3s_takes_the_core_and_sorts(tmp_path, form):
    rows = amazon_rows()
    counts = prepare("amazon-toys-games-18", write_amazon(tmp_path / "raw", rows, form), tmp_path / "out")
    rated = [row for row in rows if row[2] != 3]
    core = [rated[r] for r in plain_core([row[:2] for row in rated], 5)]
    expected = sorted(((t, u, i, r) for u, i, r, t in core), key=lambda row: row[:3])
    assert counts.raw_rows == 900
    assert counts.rows == len(core) < len(rated)
    folder = tmp_path / "out" / "amazon-toys-games-18"
    parts = [folder / f"amazon-toys-games-18.{part}.inter" for part in ("train", "valid", "test")]
    found = [row for part in parts for row in rows_of(part)[1]]
    assert [(int(t), u, i) for u, i, _, t in found] == [row[:3] for row in expected]
    assert counts.positive == sum(float(r) >= 4 for _, _, r, _ in found)
    header, items = rows_of(folder / "amazon-toys-games-18.item")
    assert header == ["item_id:token", "category:token", "title:token", "brand:token"]
    assert {row[0] for row in items} == {row[2] for row in expected}
    titles = {row[2] for row in items}
    assert {'"Best" Doll', "None", "Tab in it", ""} <= titles
    assert max(map(len, titles)) == 2000
    assert not any("getTime" in title for title in titles)
    assert {row[1] for row in items} <= {"C0", "C1", "C2", ""}
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"amazon-toys-games-18.{end}" for end in ("inter", "item", "train.inter", "valid.inter", "test.inter")
    )


DAY = "Sun Jul {:02d} 07:44:{:02d} -0700 2017"


def write_goodreads(folder, rows=1500):
    rng = random.Random(2)
    folder.mkdir(exist_ok=True)
    made = []
    for n in range(rows):
        made.append(
            {
                "user_id": f"{rng.randrange(40):032x}",
                "book_id": str(int(60 * rng.random() ** 2)),
                "review_id": str(n),
                "is_read": True,
                "rating": rng.randrange(6),
                "date_added": DAY.format(1 + n % 28, n % 60),
            }
        )
    json_lines(folder / "goodreads_interactions_dedup.json.gz", made)
    books = [
        {
            "book_id": str(b),
            "title": f'The "{b}"',
            "average_rating": "3.90",
            "text_reviews_count": "4",
            "num_pages": "",
            "is_ebook": "false",
            "format": "Paperback",
            "publisher": f"P{b % 3}",
            "publication_year": "2001",
            "work_id": str(1000 + b),
            "authors": [{"author_id": str(b % 5), "role": ""}],
            "popular_shelves": [],
        }
        for b in range(60)
    ]
    json_lines(folder / "goodreads_books.json.gz", books)
    json_lines(
        folder / "goodreads_book_authors.json.gz", [{"author_id": str(a), "name": f"Ann {a}"} for a in range(5)]
    )
    genres = [
        {"book_id": str(b), "genres": {"fiction": 1, "history, biography": b} if b else {}} for b in range(60)
    ]
    json_lines(folder / "goodreads_book_genres_initial.json.gz", genres)
    works = [{"work_id": str(1000 + b), "media_type": "book"} for b in range(60)]
    json_lines(folder / "goodreads_book_works.json.gz", works)
    return made


def test_goodreads_keeps_rated_rows_of_the_core_and_joins_what_is_known_of_books(tmp_path):
    rows = write_goodreads(tmp_path / "raw")
    counts = prepare("goodreads", tmp_path / "raw", tmp_path / "out")
    rated = [row for row in rows if row["rating"]]
    core = [rated[r] for r in plain_core([(row["user_id"], row["book_id"]) for row in rated], 10)]
    assert (counts.raw_rows, counts.rows) == (1500, len(core))
    assert counts.positive == sum(row["rating"] >= 4 for row in core)
    folder = tmp_path / "out" / "goodreads"
    _, whole = rows_of(folder / "goodreads.inter")
    times = [int(row[3]) for row in whole]
    assert times == sorted(times)
    assert times[0] >= 1498920240  # 2017-07-01 07:44:00 -0700
    _, items = rows_of(folder / "goodreads.item")
    by_id = {row[0]: row for row in items}
    assert set(by_id) == {row["book_id"] for row in core}
    assert by_id["7"] == [
        "7",
        'The "7"',
        "history, biography",
        "3.90",
        "4",
        "2",
        "Ann 2",
        "",
        "no",
        "Paperback",
        "P1",
        "2001",
        "1007",
        "book",
    ]
    assert by_id["0"][2] == ""


FAULTS = {
    "cut off": (lambda lines: [*lines[:-1], lines[-1][:20]], r"line 1500, column \d+: no JSON"),
    "no object": (lambda lines: ["[1]", *lines], r"line 1: an object is expected, got list"),
    "a rating": (
        lambda lines: [lines[0], lines[1].replace('"rating": ', '"rating": "many", "x": ')],
        r"line 2, field rating: 'many' is no int64",
    ),
    "a date": (
        lambda lines: [lines[0].replace("Jul", "Tuly")],
        r"line 1, column date_added: .* is no time such as",
    ),
    "no user": (
        lambda lines: [lines[0], lines[1].replace("user_id", "user")],
        r"line 2, column user_id: a value is",
    ),
    "a nul": (lambda lines: [lines[0], lines[1].replace("true", "\0")], r"line 2: a NUL character"),
    "nothing": (lambda lines: [], r"is empty"),
    "no core": (lambda lines: lines[:8], r"of \d+ rows none is in the 10-core"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_of_json_lines_are_told_by_line_and_leave_nothing(tmp_path, case):
    change, message = FAULTS[case]
    write_goodreads(tmp_path / "raw")
    path = tmp_path / "raw" / "goodreads_interactions_dedup.json.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join(change(lines)).encode()))
    with pytest.raises(DataError, match=message):
        prepare("goodreads", tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_gzip_leaves_nothing(tmp_path):
    write_goodreads(tmp_path / "raw")
    path = tmp_path / "raw" / "goodreads_interactions_dedup.json.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"goodreads_interactions_dedup.json.gz is cut off or damaged"):
        prepare("goodreads", tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""GoodReads, from the UCSD Book Graph: 229 million rows, which are streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.jsonlines import read_json_lines
from recbole_clickprompt.data.convert.notes import missing_descriptions, mojibake_notes
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.data.convert.reviews import Core, scratch_interactions
from recbole_clickprompt.data.convert.split import Counts
from recbole_clickprompt.data.convert.table import TextTable
from recbole_clickprompt.errors import DataError

__all__ = ["convert_goodreads"]

_K = 10
_NAME = "goodreads"
_DATE = "%b %d %H:%M:%S %z %Y"  # after the day of the week

_INTERACTIONS = pa.schema(
    [("user_id", pa.string()), ("book_id", pa.string()), ("rating", pa.int64()), ("date_added", pa.string())]
)
_AUTHOR = pa.struct([("author_id", pa.string())])
_TEXTS = [
    "book_id",
    "title",
    "average_rating",
    "text_reviews_count",
    "num_pages",
    "is_ebook",
    "format",
    "publisher",
    "publication_year",
    "work_id",
]
_BOOKS = pa.schema([*((name, pa.string()) for name in _TEXTS), ("authors", pa.list_(_AUTHOR))])
_ITEM_FIELDS = [
    "item_id",
    "book_title",
    "genre",
    "average_rating",
    "num_reviews",
    "author_id",
    "author_name",
    "num_pages",
    "is_ebook",
    "format",
    "publisher",
    "publication_year",
    "work_id",
    "media_type",
]


def convert_goodreads(raw: RawFiles, folder: Path) -> Counts:
    """``goodreads_interactions_dedup.json.gz``, the books and their authors, genres and works to atomic files.

    Rows without a rating are dropped, then repeatedly users and books with fewer than 10 rows.

    Raises:
        DataError: A file is missing, damaged or not the publisher's; with file and line.
    """
    for part in ("books", "book_authors", "book_genres_initial", "book_works"):
        raw.require(f"goodreads_{part}.json")
    file = raw.require("goodreads_interactions_dedup.json")
    raw_rows = 0
    with scratch_interactions(folder) as rows:
        for frame, line in read_json_lines(raw, _INTERACTIONS, file):
            raw_rows += len(frame)
            table = TextTable(frame, file, lambda row, line=line: line + row)  # type: ignore[misc]
            table.refuse_missing(*frame.columns)
            times = frame["date_added"].str.slice(4).str.to_datetime(_DATE, strict=False, time_unit="ms")
            table.refuse("date_added", times.is_null(), "is no time such as Sun Jul 30 07:44:10 -0700 2017")
            rated = frame["rating"] > 0
            kept = frame.filter(rated)
            rows.append(kept["user_id"], kept["book_id"], kept["rating"], times.filter(rated).dt.epoch("s"))
        core = Core(rows, _K)
        parts = core.write(folder, _NAME)
    items, remarks = _items(raw, core.items)
    written = write_atomic(folder / f"{_NAME}.item", items, dict.fromkeys(_ITEM_FIELDS, "token"))
    return Counts(
        raw_rows=raw_rows,
        rows=len(core),
        positive=core.positive,
        parts=parts,
        vocabulary=core.num_users + sum(items[column].drop_nulls().n_unique() for column in _ITEM_FIELDS),
        notes=(
            f"rows with a rating, then the {_K}-core, by the time a book was added; which rows the paper's core "
            "began with is not published",
            *remarks,
            *written,
            *mojibake_notes(items, "item_id"),
        ),
    )


def _items(raw: RawFiles, wanted: pl.Series) -> tuple[pl.DataFrame, list[str]]:
    """The fields of the wanted books, in the order of ``_ITEM_FIELDS``, and notes on them."""
    books = _wanted(raw, _BOOKS, "goodreads_books.json", "book_id", wanted)
    books = books.with_columns(author_id=pl.col("authors").list.first().struct.field("author_id")).drop("authors")
    books = books.with_columns(pl.col(pl.String).replace("", None))
    books = books.with_columns(is_ebook=pl.col("is_ebook").replace({"true": "yes", "false": "no"}))
    authors = _wanted(
        raw,
        _texts("author_id", "name"),
        "goodreads_book_authors.json",
        "author_id",
        books["author_id"].drop_nulls(),
    )
    works = _wanted(
        raw, _texts("work_id", "media_type"), "goodreads_book_works.json", "work_id", books["work_id"].drop_nulls()
    )
    genres = pl.concat(list(_genres(raw, wanted))).unique("book_id", keep="first")
    joined = wanted.alias("book_id").to_frame().join(books, on="book_id", how="left", maintain_order="left")
    for other, key in ((authors, "author_id"), (works, "work_id"), (genres, "book_id")):
        joined = joined.join(other, on=key, how="left", maintain_order="left")
    names = {
        "book_id": "item_id",
        "title": "book_title",
        "text_reviews_count": "num_reviews",
        "name": "author_name",
    }
    remarks = missing_descriptions(wanted, books["book_id"], "books", "goodreads_books.json")
    return joined.rename(names).select(_ITEM_FIELDS), remarks


def _texts(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _wanted(raw: RawFiles, schema: pa.Schema, file: str, key: str, wanted: pl.Series) -> pl.DataFrame:
    keys = wanted.unique().implode()
    frames = [frame.filter(pl.col(key).is_in(keys)) for frame, _ in read_json_lines(raw, schema, file)]
    return pl.concat(frames).unique(key, keep="first", maintain_order=True)


def _genres(raw: RawFiles, wanted: pl.Series) -> Iterator[pl.DataFrame]:
    """The genre of each wanted book that most readers chose; genres are JSON keys, which no schema can list."""
    file = raw.require("goodreads_book_genres_initial.json")
    keys = set(wanted)
    line = 0
    for block in raw.blocks(file):
        found: dict[str, str | None] = {}
        for text in block.splitlines():
            line += 1
            try:
                row = json.loads(text)
                book, votes = row["book_id"], row["genres"]
                if book in keys:
                    found[book] = max(votes, key=votes.__getitem__) if votes else None
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{file}, line {line}: no book with genres ({error})") from error
        yield pl.DataFrame(
            {"book_id": list(found), "genre": list(found.values())},
            schema={"book_id": pl.String, "genre": pl.String},
        )

"""Book-Crossing, from Cai-Nicolas Ziegler's CSV dump."""

from __future__ import annotations

import codecs
import html
from dataclasses import replace
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.encoding import decode
from recbole_clickprompt.data.convert.notes import mojibake_notes
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.data.convert.split import Counts, shuffled, write_interactions
from recbole_clickprompt.data.convert.table import TextTable

__all__ = ["convert_book_crossing"]

_SEED = 42
_KEEP = "recbole_clickprompt.keep"

_RATINGS = {"User-ID": "user_id", "ISBN": "item_id", "Book-Rating": "rating"}
_USERS = {"User-ID": "user_id", "Location": "location", "Age": "age"}
_BOOKS = {
    "ISBN": "item_id",
    "Book-Title": "book_title",
    "Book-Author": "book_author",
    "Year-Of-Publication": "publication_year",
    "Publisher": "publisher",
}


def convert_book_crossing(raw: RawFiles, folder: Path) -> Counts:
    """``BX-Book-Ratings.csv``, ``BX-Users.csv`` and ``BX-Books.csv`` to atomic files with the paper's split.

    Rows whose user or book is in no table are left out of the split, as by the paper's join. There is no time, so
    the others are shuffled. Values are those of the dump, including accents that were decoded wrongly.

    Raises:
        DataError: The files are not the publisher's; with file and line.
    """
    ratings = _table(raw, "BX-Book-Ratings.csv", _RATINGS, "Book-Rating")
    user_table = _table(raw, "BX-Users.csv", _USERS, "User-ID")
    user_table.with_numbers(pl.Float64, "age")
    users = _first_of_each(user_table, "user_id")
    book_table = _table(raw, "BX-Books.csv", _BOOKS, "Year-Of-Publication")
    books = _first_of_each(book_table, "item_id")
    ratings.refuse_missing(*_RATINGS.values())
    ratings = ratings.with_numbers(pl.Int64, "rating")
    written = write_atomic(folder / "book-crossing.user", users, dict.fromkeys(_USERS.values(), "token"))
    written += write_atomic(folder / "book-crossing.item", books, dict.fromkeys(_BOOKS.values(), "token"))
    joined = ratings.frame.join(books.select("item_id"), on="item_id", how="semi", maintain_order="left")
    joined = joined.join(users.select("user_id"), on="user_id", how="semi", maintain_order="left")
    in_order = joined[shuffled(len(joined), _SEED)]
    parts = write_interactions(
        folder,
        "book-crossing",
        {"user_id": "token", "item_id": "token", "rating": "float"},
        rows=len(joined),
        labelled=lambda a, b: in_order[a:b],
        everything=ratings.frame,
    )
    kept_users = users.join(joined.select("user_id"), on="user_id", how="semi")
    kept_books = books.join(joined.select("item_id"), on="item_id", how="semi")
    vocabulary = sum(
        table[column].drop_nulls().n_unique() for table in (kept_users, kept_books) for column in table.columns
    )
    return Counts(
        raw_rows=len(ratings.frame),
        rows=len(joined),
        positive=int((joined["rating"] >= 5).sum()),
        parts=parts,
        vocabulary=vocabulary,
        notes=(
            *(note for table in (ratings, user_table, book_table) for note in table.notes),
            *_undescribed(ratings, users, books),
            f"the dump has no time: rows are shuffled with seed {_SEED}; the paper's order is not published",
            *written,
            *mojibake_notes(books, "item_id"),
        ),
    )


def _undescribed(ratings: TextTable, users: pl.DataFrame, books: pl.DataFrame) -> list[str]:
    notes = []
    for field, table, file in (("user_id", users, "BX-Users.csv"), ("item_id", books, "BX-Books.csv")):
        rows = (~ratings.frame[field].is_in(table[field].implode())).arg_true()
        if len(rows):
            row = int(rows[0])
            notes.append(
                f"{len(rows)} ratings are left out, as {file} lacks their {field}: first "
                f"{ratings.frame[field][row]!r} in {ratings.place(row, field)}"
            )
    return notes


def _table(raw: RawFiles, file: str, columns: dict[str, str], number_column: str) -> TextTable:
    text = decode(raw.read(file), file, "cp1252", errors=_KEEP)
    table = read_csv(
        text,
        file,
        separator=";",
        escape="\\",
        required=columns,
        missing=("", "NULL"),
        number_column=number_column,
    )
    frame = table.frame.select(pl.col(name).alias(field) for name, field in columns.items())
    with_entities = [name for name in frame.columns if frame[name].str.contains("&", literal=True).any()]
    frame = frame.with_columns(pl.col(name).map_elements(html.unescape, pl.String) for name in with_entities)
    return replace(table, frame=frame)


def _first_of_each(table: TextTable, key: str) -> pl.DataFrame:
    table.refuse_missing(key)
    return table.frame.unique(key, keep="first", maintain_order=True)


def _keep(error: UnicodeError) -> tuple[str, int]:
    """Five bytes are undefined in cp1252; as in web browsers, they become the control character of that number."""
    assert isinstance(error, UnicodeDecodeError)
    return chr(error.object[error.start]), error.start + 1


codecs.register_error(_KEEP, _keep)

"""MovieLens 1M, 100K and latest-small, from the archives of GroupLens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.csv_file import read_csv
from recbole_clickprompt.data.convert.encoding import decode, reject_mojibake
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.data.convert.split import Counts, write_interactions
from recbole_clickprompt.data.convert.table import TextTable, read_lines

__all__ = ["convert_ml_1m", "convert_ml_100k", "convert_ml_latest_small"]

_RATING_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_RATINGS = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
_USERS = dict.fromkeys(("user_id", "age", "gender", "occupation", "zip_code"), "token")
_GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def convert_ml_1m(raw: RawFiles, folder: Path) -> Counts:
    """``ratings.dat``, ``users.dat`` and ``movies.dat`` to atomic files with the paper's split.

    Raises:
        DataError: The files are not those of GroupLens; with file, line and column.
    """
    ratings = _lines(raw, "ratings.dat", "::", _RATING_COLUMNS)
    users = _lines(raw, "users.dat", "::", ("user_id", "gender", "age", "occupation", "zip_code"))
    movies = _lines(raw, "movies.dat", "::", ("item_id", "title", "genres"))
    items = movies.frame.with_columns(
        _title(), _year(), genre=pl.col("genres").str.replace_all("|", " ", literal=True)
    )
    return _write(folder, "ml-1m", ratings, users, movies, items)


def convert_ml_100k(raw: RawFiles, folder: Path) -> Counts:
    """``u.data``, ``u.user`` and ``u.item`` to atomic files with the header of RecBole's data set.

    Raises:
        DataError: The files are not those of GroupLens; with file, line and column.
    """
    ratings = _lines(raw, "u.data", "\t", _RATING_COLUMNS)
    users = _lines(raw, "u.user", "|", ("user_id", "age", "gender", "occupation", "zip_code"))
    flags = [f"genre_{i}" for i in range(len(_GENRES_100K))]
    columns = ("item_id", "title", "release_date", "video_release_date", "url", *flags)
    movies = _lines(raw, "u.item", "|", columns)
    genres = pl.concat_str(
        [pl.when(pl.col(flag) == "1").then(pl.lit(name)) for flag, name in zip(flags, _GENRES_100K, strict=True)],
        separator=" ",
        ignore_nulls=True,
    )
    items = movies.frame.with_columns(_title(), _year(), genres.alias("class"))
    return _write(folder, "ml-100k", ratings, users, movies, items)


def convert_ml_latest_small(raw: RawFiles, folder: Path) -> Counts:
    """``ratings.csv`` and ``movies.csv`` to atomic files; users have no fields.

    Ratings have half stars: from 3 to below 4 they are neither positive nor negative.

    Raises:
        DataError: The files are not those of GroupLens; with file, line and column.
    """
    ratings = _csv(raw, "ratings.csv", {"userId": "user_id", "movieId": "item_id"})
    movies = _csv(raw, "movies.csv", {"movieId": "item_id"})
    genres = pl.col("genres").replace("(no genres listed)", None).str.replace_all("|", " ", literal=True)
    items = movies.frame.with_columns(_title(), _year(), genre=genres)
    return _write(folder, "ml-latest-small", ratings, None, movies, items)


def _lines(raw: RawFiles, file: str, separator: str, columns: tuple[str, ...]) -> TextTable:
    text = decode(raw.read(file), file, "latin-1")
    reject_mojibake(text, file)
    return read_lines(text, file, separator, columns)


def _csv(raw: RawFiles, file: str, names: dict[str, str]) -> TextTable:
    text = decode(raw.read(file), file, "utf-8")
    reject_mojibake(text, file)
    required = {"ratings.csv": ("rating", "timestamp"), "movies.csv": ("title", "genres")}[file]
    table = read_csv(text, file, required=(*names, *required), number_column="movieId")
    return replace(table, frame=table.frame.rename(names))


def _title() -> pl.Expr:
    return pl.col("title").str.replace(r"\s*\(\d{4}\)\s*$", "").alias("movie_title")


def _year() -> pl.Expr:
    return pl.col("title").str.extract(r"\((\d{4})\)\s*$").alias("release_year")


def _write(
    folder: Path, name: str, ratings: TextTable, users: TextTable | None, movies: TextTable, items: pl.DataFrame
) -> Counts:
    ratings.refuse_missing("user_id", "item_id", "rating", "timestamp")
    ratings = ratings.with_numbers(pl.Float64, "rating").with_numbers(pl.Int64, "timestamp")
    ratings.with_numbers(pl.Int64, "user_id", "item_id")  # MovieLens' ids are, and break ties of time
    movies.refuse_missing("item_id")
    movies.refuse_repeated("item_id")
    ratings.refuse_unknown("item_id", movies)
    words = ["item_id", "movie_title"]
    genre = next(column for column in ("genre", "class") if column in items)
    written = write_atomic(
        folder / f"{name}.item",
        items,
        {"item_id": "token", "movie_title": "token", "release_year": "token", genre: "token_seq"},
    )
    vocabulary = sum(items[column].drop_nulls().n_unique() for column in words)
    vocabulary += items[genre].str.split(" ").list.first().drop_nulls().n_unique()
    if users is None:
        vocabulary += ratings.frame["user_id"].n_unique()
    else:
        users.refuse_missing("user_id")
        users.refuse_repeated("user_id")
        ratings.refuse_unknown("user_id", users)
        written += write_atomic(folder / f"{name}.user", users.frame, _USERS)
        vocabulary += sum(users.frame[column].drop_nulls().n_unique() for column in _USERS)
    kept = ratings.frame.filter((pl.col("rating") < 3) | (pl.col("rating") >= 4))
    in_order = kept.sort("timestamp", pl.col("user_id").cast(pl.Int64), pl.col("item_id").cast(pl.Int64))
    parts = write_interactions(
        folder, name, _RATINGS, rows=len(kept), labelled=lambda a, b: in_order[a:b], everything=ratings.frame
    )
    return Counts(
        raw_rows=len(ratings.frame),
        rows=len(kept),
        positive=int((kept["rating"] >= 4).sum()),
        parts=parts,
        vocabulary=vocabulary,
        notes=(*ratings.notes, *movies.notes, *written),
    )

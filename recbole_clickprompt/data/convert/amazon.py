"""Amazon reviews of 2018, category Toys and Games, from McAuley's files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from recbole_clickprompt.data.convert.atomic import write_atomic
from recbole_clickprompt.data.convert.encoding import decode
from recbole_clickprompt.data.convert.jsonlines import read_json_lines
from recbole_clickprompt.data.convert.notes import missing_descriptions, mojibake_notes
from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.data.convert.reviews import Core, scratch_interactions
from recbole_clickprompt.data.convert.split import Counts
from recbole_clickprompt.data.convert.table import TextTable, read_lines

__all__ = ["convert_amazon_toys_games_18"]

_K = 5
_NAME = "amazon-toys-games-18"
_CATEGORY = "Toys_and_Games"
_REVIEWS = pa.schema(
    [("reviewerID", pa.string()), ("asin", pa.string()), ("overall", pa.float64()), ("unixReviewTime", pa.int64())]
)
_META = pa.schema(
    [("asin", pa.string()), ("title", pa.string()), ("brand", pa.string()), ("category", pa.list_(pa.string()))]
)
_CSV_COLUMNS = ("asin", "reviewerID", "overall", "unixReviewTime")


def convert_amazon_toys_games_18(raw: RawFiles, folder: Path) -> Counts:
    """Reviews (``Toys_and_Games.json.gz`` or ``.csv``) and ``meta_Toys_and_Games.json.gz`` to atomic files.

    Rows rated 3 are dropped, then repeatedly users and items with fewer than 5 rows.

    Raises:
        DataError: A file is missing, damaged or not the publisher's; with file and line.
    """
    raw.require(f"meta_{_CATEGORY}.json")
    raw_rows = 0
    with scratch_interactions(folder) as rows:
        for table in _review_tables(raw):
            table.refuse_missing(*_CSV_COLUMNS)
            raw_rows += len(table.frame)
            kept = table.frame.filter(pl.col("overall") != 3)
            rows.append(kept["reviewerID"], kept["asin"], kept["overall"], kept["unixReviewTime"])
        core = Core(rows, _K)
        parts = core.write(folder, _NAME)
    items, remarks = _items(raw, core.items)
    written = write_atomic(
        folder / f"{_NAME}.item", items, dict.fromkeys(("item_id", "category", "title", "brand"), "token")
    )
    vocabulary = core.num_users + sum(items[column].drop_nulls().n_unique() for column in items.columns)
    return Counts(
        raw_rows=raw_rows,
        rows=len(core),
        positive=core.positive,
        parts=parts,
        vocabulary=vocabulary,
        notes=(
            f"3s are dropped before the {_K}-core; which core the paper took, and when, is not published",
            *remarks,
            *written,
            *mojibake_notes(items, "item_id"),
        ),
    )


def _review_tables(raw: RawFiles) -> Iterator[TextTable]:
    if raw.find(f"{_CATEGORY}.json"):
        file = raw.require(f"{_CATEGORY}.json")
        for frame, line in read_json_lines(raw, _REVIEWS, file):
            yield TextTable(frame, file, lambda row, line=line: line + row)  # type: ignore[misc]
        return
    file = raw.require(f"{_CATEGORY}.json", f"{_CATEGORY}.csv")
    line = 1
    for block in raw.blocks(file):
        table = read_lines(decode(block, file, "utf-8"), file, ",", _CSV_COLUMNS, first_line=line)
        yield table.with_numbers(pl.Float64, "overall").with_numbers(pl.Int64, "unixReviewTime")
        line += block.count(b"\n")


def _items(raw: RawFiles, wanted: pl.Series) -> tuple[pl.DataFrame, list[str]]:
    """Category, title and brand of the wanted items, and notes on them."""
    frames = []
    for frame, _ in read_json_lines(raw, _META, f"meta_{_CATEGORY}.json"):
        frames.append(frame.filter(pl.col("asin").is_in(wanted.implode())))
    found = pl.concat(frames).unique("asin", keep="first", maintain_order=True)
    # The first category is "Toys & Games" for all items; the second one is informative
    category = pl.coalesce(pl.col("category").list.get(1, null_on_oob=True), pl.col("category").list.first())
    is_code = pl.col("title").str.contains("getTime", literal=True)  # a known fault of these files
    found = found.select(
        pl.col("asin").alias("item_id"),
        category.alias("category"),
        pl.when(~is_code).then("title").alias("title"),
        pl.col("brand").replace("", None),
        is_code.alias("is_code"),
    ).with_columns(pl.col("title").replace("", None))
    items = wanted.to_frame().join(found, on="item_id", how="left", maintain_order="left")
    without, cut = int(items["title"].is_null().sum()), int(items["is_code"].sum())
    return items.drop("is_code"), [
        f"{without} items have no title; {cut} titles were page code and are taken for missing",
        *missing_descriptions(wanted, found["item_id"], "items", f"meta_{_CATEGORY}.json"),
    ]

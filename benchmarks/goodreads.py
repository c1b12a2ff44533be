"""Time and memory of ``recbole-cp prepare goodreads`` on generated files in the publisher's format.

    python -m benchmarks.goodreads --rows=45000000 --folder=/tmp/goodreads

Users and books are drawn from power laws, 55 % of the rows have no rating as in the original, and fields that
``prepare`` skips are included. Printed numbers are measured, not extrapolated. The folder is kept and reused;
remove it yourself.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import measured

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

ROWS_OF_A_USER, ROWS_OF_A_BOOK = 260, 97  # averages of the original: 229 M rows, 876 K users, 2.36 M books
RATINGS, SHARES = [0, 1, 2, 3, 4, 5], [0.55, 0.01, 0.03, 0.09, 0.16, 0.16]
STEEPNESS = 3  # frequency falls with rank r as r ** (1 / STEEPNESS - 1)
CHUNK = 1_000_000
LEVEL = 1  # of gzip: compresses fast, and decompression time hardly depends on it
GENRES = ["fiction", "romance", "history, historical fiction, biography", "fantasy, paranormal", "poetry"]


def main() -> None:
    """Generates missing files, prepares them and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="interactions (default: %(default)s)")
    parser.add_argument("--folder", type=Path, required=True, help="for the generated and the prepared files")
    parser.add_argument("--generate", action="store_true", help="only generate the raw files")
    options = parser.parse_args()
    raw, out = options.folder / f"raw-{options.rows}", options.folder / f"out-{options.rows}"
    if options.generate:
        generate(raw, options.rows)
        return
    if not (raw / "goodreads_book_works.json.gz").is_file():
        again = [sys.executable, "-m", "benchmarks.goodreads", "--generate"]
        print(f"generated in {measured([*again, f'--rows={options.rows}', f'--folder={options.folder}'])}")
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "recbole_clickprompt", "prepare", "goodreads"]
    cost = measured([*command, f"--raw={raw}", f"--out={out}"])
    with (out / "goodreads" / "goodreads.inter").open("rb") as stream:
        kept = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 24), b"")) - 1
    # Imported late, because the measured child process starts with the memory of this one
    from recbole_clickprompt.evaluation.tables import markdown_table

    cells = [
        f"{options.rows:,}",
        f"{kept:,}",
        f"{cost.seconds:.0f} s",
        f"{cost.cpu_seconds:.0f} s",
        f"{cost.peak_bytes / 1e9:.2f} GB",
    ]
    print(markdown_table(["rows", "kept", "time", "CPU time", "peak memory"], [cells]))


def generate(folder: Path, rows: int, seed: int = 0) -> None:
    """Writes the five files; the works last, so that their presence shows that all are complete."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    users, books = max(rows // ROWS_OF_A_USER, 20), max(rows // ROWS_OF_A_BOOK, 40)
    ids = random.permutation(np.arange(1, 4 * books, 4))  # book ids are unrelated to popularity
    _write(folder / "goodreads_interactions_dedup.json.gz", _interactions(random, rows, users, ids))
    _write(folder / "goodreads_books.json.gz", _books(ids))
    _write(folder / "goodreads_book_authors.json.gz", _authors(books))
    with gzip.open(folder / "goodreads_book_genres_initial.json.gz", "wt", compresslevel=LEVEL) as stream:
        for book in ids.tolist():
            votes = {GENRES[(book + n) % len(GENRES)]: 1 + n * book % 7 for n in range(book % 3)}
            stream.write(json.dumps({"book_id": str(book), "genres": votes}) + "\n")
    _write(folder / "goodreads_book_works.json.gz", _works(ids))


def _write(path: Path, frames: Iterator[pl.DataFrame]) -> None:
    with gzip.open(path, "wb", compresslevel=LEVEL) as stream:
        for frame in frames:
            stream.write(frame.write_ndjson().encode())


def _interactions(random: np.random.Generator, rows: int, users: int, books: np.ndarray) -> Iterator[pl.DataFrame]:
    import numpy as np
    import polars as pl

    names = _hex(random, users)
    texts = pl.Series(books).cast(pl.String)
    for start in range(0, rows, CHUNK):
        size = min(CHUNK, rows - start)
        user, book = ((n * random.random(size) ** STEEPNESS).astype(np.int64) for n in (users, len(books)))
        rating = random.choice(RATINGS, size, p=SHARES)
        added = pl.Series(1_167_609_600 + random.integers(0, 340_000_000, size))  # from 2007 on
        times = pl.from_epoch(added, time_unit="s").dt.strftime("%a %b %d %H:%M:%S -0700 %Y")
        yield pl.DataFrame(
            {
                "user_id": names.gather(user),
                "book_id": texts.gather(book),
                "review_id": _hex(random, size),
                "is_read": rating > 0,
                "rating": rating,
                "review_text_incomplete": pl.repeat("", size, eager=True),
                "date_added": times,
                "date_updated": times,
                "read_at": pl.repeat("", size, eager=True),
                "started_at": pl.repeat("", size, eager=True),
            }
        )


def _books(ids: np.ndarray) -> Iterator[pl.DataFrame]:
    for part in _parts(ids):
        yield part.select(
            isbn=_text("9{:0>12}"),
            text_reviews_count=_text("{}"),
            country_code=_constant("US"),
            language_code=_constant("eng"),
            is_ebook=_constant("false"),
            average_rating=_constant("3.90"),
            description=_text("The story of number {}, in some detail. "),
            format=_constant("Paperback"),
            authors=_author(),
            publisher=_text("House {}", 5000),
            num_pages=_text("{}", 900),
            publication_year=_text("1{:0>3}", 1000),
            book_id=_text("{}"),
            ratings_count=_text("{}"),
            work_id=_text("7{}"),
            title=_text('The "{}" Book, and Its Sequel'),
        )


def _authors(books: int) -> Iterator[pl.DataFrame]:
    import numpy as np

    for part in _parts(np.arange(max(books // 3, 1))):
        yield part.select(average_rating=_constant("3.9"), author_id=_text("{}"), name=_text("Ann Author {}"))


def _works(ids: np.ndarray) -> Iterator[pl.DataFrame]:
    for part in _parts(ids):
        yield part.select(work_id=_text("7{}"), media_type=_constant("book"), best_book_id=_text("{}"))


def _parts(ids: np.ndarray) -> Iterator[pl.DataFrame]:
    import polars as pl

    return (pl.DataFrame({"id": ids[start : start + CHUNK]}) for start in range(0, len(ids), CHUNK))


def _text(pattern: str, modulus: int | None = None) -> pl.Expr:
    import polars as pl

    number = pl.col("id") if modulus is None else pl.col("id") % modulus
    if ":0>" in pattern:
        head, _, width = pattern.rstrip("}").partition("{:0>")
        return pl.lit(head) + number.cast(pl.String).str.zfill(int(width))
    return pl.format(pattern, number)


def _constant(value: str) -> pl.Expr:
    import polars as pl

    return pl.lit(value)


def _author() -> pl.Expr:
    import polars as pl

    author = pl.struct((pl.col("id") // 12).cast(pl.String).alias("author_id"), pl.lit("").alias("role"))
    return pl.concat_list(author)


def _hex(random: np.random.Generator, number: int) -> pl.Series:
    """Random ids of 32 characters."""
    import polars as pl

    text = random.bytes(16 * number).hex()
    return pl.Series([text[start : start + 32] for start in range(0, len(text), 32)])


if __name__ == "__main__":
    main()

"""Tables for the tests of ``from-table``: one per kind of column and of file, the same on every machine."""

import csv
import gzip
import io
import random
from pathlib import Path

import polars as pl

__all__ = ["CASES", "write_case"]

_COUNTRIES = ["DE", "NA", "", "FR"]


def _columns(case, rows):
    """Columns of a table, and the arguments that it needs."""
    draw = random.Random(case)
    users, items = [draw.randrange(40) for _ in range(rows)], [draw.randrange(60) for _ in range(rows)]
    columns = {
        "user": [f"u{user}" for user in users],
        "item": [f"i{item}" for item in items],
        "y": [str(draw.randrange(2)) for _ in range(rows)],
        "country": [_COUNTRIES[user % 4] for user in users],
        "title": [f"Title {item % 17}, The" for item in items],
        "price": [f"{item * 1.25 + 0.25}" for item in items],
        "score": [f"{draw.random() * 100:.3f}" for _ in range(rows)],
        "hour": [str(draw.randrange(24)) for _ in range(rows)],
    }
    arguments = []
    if case == "features that change":
        columns["country"][-1], columns["title"][rows // 2] = "IT", "another"
    elif case == "missing":
        columns["y"] = [draw.choice(["0", "1", "1", "", "NA"]) for _ in range(rows)]
        columns["when"] = [draw.choice([str(1_600_000_000 + n), "", "nan"]) for n in range(rows)]
        columns["score"] = [draw.choice([value, "NA", "inf", "-"]) for value in columns["score"]]
        arguments = ["--time=when", "--drop-missing"]
    elif case == "ids with blanks":
        columns["user"] = [draw.choice([user, f" {user}", user]) for user in columns["user"]]
    elif case == "stars and dates":
        columns["y"] = [str(draw.randrange(1, 11) / 2) for _ in range(rows)]
        columns["when"] = [f"{draw.randrange(1, 29)}/{draw.randrange(1, 13)}/2019 9:30" for _ in range(rows)]
        arguments = ["--time=when"]
    elif case == "parts of a second":
        columns["when"] = [str(1_600_000_000_000_000_000 + draw.randrange(10**12)) for _ in range(rows)]
        arguments = ["--time=when"]
    elif case == "far years by a format":
        columns["when"] = [f"{draw.randrange(1, 29):02}.01.{draw.choice([1500, 2019])}" for _ in range(rows)]
        arguments = ["--time=when", "--date-format=%d.%m.%Y"]
    elif case == "texts":
        columns |= {
            "genres": ["|".join(draw.sample(["Action", "Drama", "War"], 2)) for _ in range(rows)],
            "tags": ["; ".join(draw.sample("abcdefgh", draw.randint(1, 3))) for _ in range(rows)],
            "names": [f"Person {n}, Jr." for n in range(rows)],
            "cost": [f"${n},000.50" for n in range(rows)],
            "nearly": ["free" if n == rows - 1 else f"{n / 8}" for n in range(rows)],
            "crowded": ["1e9" if n == rows - 1 else f"{n / 8}" for n in range(rows)],
            "row": [str(n) for n in range(rows)],
            "label": ["same"] * rows,
            "said": [draw.choice(["one\ntwo", "tab\there", 'say "hi"', "x" * 2500]) for _ in range(rows)],
        }
    elif case == "repeated rows":
        for values in columns.values():
            values += values[:5]
    return columns, arguments


def write_case(case):
    """Writes the table of a case into the working folder; returns its path and the arguments that it needs."""
    columns, arguments = _columns(case, 700)
    if case == "parquet":
        frame = pl.DataFrame(columns).with_columns(
            pl.col("price", "score").cast(pl.Float64),
            pl.col("country").cast(pl.Categorical),
            pl.col("hour").cast(pl.Int8),
            words=pl.concat_list("country", "hour"),
            when=pl.datetime(2020, 1, 1) + pl.duration(hours=pl.col("hour").cast(pl.Int64)),
        )
        frame.write_parquet("t.parquet", row_group_size=100)
        return "t.parquet", ["--time=when"]
    form, separator, end = CASES[case]
    stream = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if case == "quoted" else csv.QUOTE_MINIMAL
    writer = csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(columns)
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        writer.writerow(row)
        if case == "blank lines" and number % 7 == 0:
            stream.write(end)
    content = stream.getvalue().encode()
    path = Path(f"t.{form}")
    path.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    return str(path), arguments


CASES = {
    "plain": ("csv", ",", "\n"),
    "quoted": ("csv", ",", "\n"),
    "tabs": ("tsv", "\t", "\r\n"),
    "compressed": ("csv.gz", ";", "\n"),
    "old line ends": ("csv", ",", "\r"),
    "blank lines": ("csv", ",", "\n"),
    "features that change": ("csv", ",", "\n"),
    "missing": ("csv", ",", "\n"),
    "ids with blanks": ("csv", ",", "\n"),
    "stars and dates": ("csv", ",", "\n"),
    "parts of a second": ("csv", ",", "\n"),
    "far years by a format": ("csv", ",", "\n"),
    "texts": ("csv", ",", "\n"),
    "repeated rows": ("csv", ",", "\n"),
    "parquet": ("parquet", "", ""),
}

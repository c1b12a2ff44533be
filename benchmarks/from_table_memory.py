"""Time and memory of ``recbole-cp from-table`` on generated files of several lengths.

    python -m benchmarks.from_table_memory --rows 2000000 8000000 --folder=/tmp/from-table

Each file has a million users and a million items, each with a feature or two, and a label, a time and a context
column. The peak is the maximum resident set size of the whole process, imports included. What is printed was
run. Generated files are kept in the folder and used again; remove it yourself.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
from pathlib import Path

from benchmarks.measure import measured

CHUNK = 250_000  # rows generated at once
FORMS = ["csv", "csv.gz", "parquet"]


def main() -> None:
    """Generates missing files, converts each one in a process of its own and prints a row for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[2_000_000, 8_000_000], help="(default: %(default)s)"
    )
    parser.add_argument("--ids", type=int, default=1_000_000, help="users, and items (default: %(default)s)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS[:2], help="(default: %(default)s)")
    parser.add_argument("--quoted", action="store_true", help="titles hold commas, so they are in quotes")
    parser.add_argument("--folder", type=Path, required=True, help="for the generated and the converted files")
    parser.add_argument("--generate", type=Path, metavar="FILE", help="only make this file")
    options = parser.parse_args()
    if options.generate:
        generate(options.generate, options.rows[0], options.ids, quoted=options.quoted)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| file | size | rows | time | peak memory |\n|---|---|---|---|---|")
    for rows in options.rows:
        for form in options.forms:
            quoted = ["--quoted"] if options.quoted else []
            path = options.folder / f"{rows}-{options.ids}{'-quoted' if quoted else ''}.{form}"
            if not path.exists():
                arguments = [f"--rows={rows}", f"--ids={options.ids}", f"--folder={options.folder}", *quoted]
                measured([sys.executable, "-m", "benchmarks.from_table_memory", *arguments, f"--generate={path}"])
            cost = convert(path, options.folder)
            size = path.stat().st_size / 1e6
            print(
                f"| {form} | {size:.0f} MB | {rows:,} | {cost[0]:.0f} s | {cost[1] / 1e6:.0f} MB |",
                flush=True,
            )


def convert(path: Path, folder: Path) -> tuple[float, int]:
    """Seconds and peak bytes of the conversion of a file; its result is removed."""
    out, name = folder / "converted", "memory-benchmark"
    shutil.rmtree(out, ignore_errors=True)
    properties = Path("props") / "dataset" / f"{name}.yaml"
    properties.unlink(missing_ok=True)
    columns = ["--user=user", "--item=item", "--label=clicked", "--time=time", f"--name={name}"]
    command = [sys.executable, "-W", "ignore", "-c", _QUIET, "from-table", str(path), *columns, f"--out={out}"]
    try:
        cost = measured(command)
    finally:
        shutil.rmtree(out, ignore_errors=True)
        properties.unlink(missing_ok=True)
    return cost.seconds, cost.peak_bytes


_QUIET = """
import contextlib, io, sys
from recbole_clickprompt.__main__ import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
sys.exit(code)
"""


def generate(path: Path, rows: int, ids: int, *, quoted: bool = False) -> None:
    """Writes a table of ``rows`` rows, in which each of ``ids`` users and items comes about equally often."""
    import polars as pl

    def chunk(start: int) -> pl.DataFrame:
        row = pl.int_range(start, min(start + CHUNK, rows), dtype=pl.Int64)
        user, item = (row * 7919) % ids, (row * 104_729 + row // ids * 31) % ids
        title = pl.format("The {}, volume {}" if quoted else "The {} volume {}", item * 37 % 99_991, item % 13)
        return pl.select(
            user=pl.format("u{}", user),
            country=pl.format("country {}", user % 60),
            age=18 + user % 70,
            item=pl.format("item-{}", item),
            title=title,
            price=(item * 7 % 5000) / 100 + 0.99,
            hour=row * 31 % 24,
            clicked=(row * 48_271 % 2_147_483_647) % 3 // 2,
            time=1_600_000_000 + row * 13,
        )

    partial = path.with_name(f"{path.name}.partial")
    starts = range(0, rows, CHUNK)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetWriter(partial, chunk(0).to_arrow().schema) as writer:
            for start in starts:
                writer.write_table(chunk(start).to_arrow())
    else:
        with gzip.open(partial, "wb", 1) if path.suffix == ".gz" else partial.open("wb") as stream:
            for start in starts:
                stream.write(chunk(start).write_csv(include_header=start == 0).encode())
    partial.rename(path)


if __name__ == "__main__":
    main()

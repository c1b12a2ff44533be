"""Time and memory of ``recbole-cp prepare kdd2012`` on generated files in the publisher's format.

    python -m benchmarks.kdd2012 --rows=6000000 --folder=/tmp/kdd2012

The numbers of users, ads and texts have the original's ratio to the number of rows; a sixteenth of the rows has
user 0. The report that the command prints for small data sets is left out, because it reads the result again.
Printed numbers are measured, not extrapolated. The folder is kept and reused; remove it yourself.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import measured

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

ORIGINAL_ROWS = 149_639_105
# The original's numbers of lines (users, texts) and of ads, and the words of a text
USERS, ADS = 23_669_283, 641_707
TEXTS = {
    "queryid": (26_243_606, 3), "purchasedkeywordid": (1_249_785, 2), "titleid": (4_051_441, 8),
    "descriptionid": (3_171_830, 20),
}  # fmt: skip
WORDS = 120_000
STEEPNESS = 3  # frequency falls with rank r as r ** (1 / STEEPNESS - 1)
CHUNK = 1_000_000
PREPARE = """
import sys
from pathlib import Path
from recbole_clickprompt.data.convert.catalog import prepare
counts = prepare("kdd2012", Path(sys.argv[1]), Path(sys.argv[2]))
print(*counts.notes, sep="\\n")
"""


def main() -> None:
    """Generates missing files, prepares them and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6_000_000, help="lines of training.txt (default: %(default)s)")
    parser.add_argument("--folder", type=Path, required=True, help="for the generated and the prepared files")
    parser.add_argument("--generate", action="store_true", help="only generate the raw files")
    options = parser.parse_args()
    raw, out = options.folder / f"raw-{options.rows}", options.folder / f"out-{options.rows}"
    if options.generate:
        generate(raw, options.rows)
        return
    if not (raw / "training.txt").is_file():
        again = [sys.executable, "-m", "benchmarks.kdd2012", "--generate"]
        print(f"generated in {measured([*again, f'--rows={options.rows}', f'--folder={options.folder}'])}")
    shutil.rmtree(out, ignore_errors=True)
    cost = measured([sys.executable, "-c", PREPARE, str(raw), str(out)])
    with (out / "kdd2012" / "kdd2012.inter").open("rb") as stream:
        kept = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 24), b"")) - 1
    # Imported late, because the measured child process starts with the memory of this one
    from recbole_clickprompt.evaluation.tables import markdown_table

    cells = [
        f"{options.rows:,}",
        f"{sum(file.stat().st_size for file in raw.iterdir()) / 1e9:.2f} GB",
        f"{kept:,}",
        f"{cost.seconds:.0f} s",
        f"{cost.cpu_seconds:.0f} s",
        f"{cost.peak_bytes / 1e9:.2f} GB",
    ]
    print(markdown_table(["rows", "raw files", "kept", "time", "CPU time", "peak memory"], [cells]))


def generate(folder: Path, rows: int, seed: int = 0) -> None:
    """Writes the six files; the rows last, so that their presence shows that all are complete."""
    import numpy as np
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    sizes = {name: max(number * rows // ORIGINAL_ROWS, 20) for name, (number, _) in TEXTS.items()}
    users, ads = (max(number * rows // ORIGINAL_ROWS, 20) for number in (USERS, ADS))
    for name, (_, words) in TEXTS.items():
        _write(folder / f"{name}_tokensid.txt", _texts(random, sizes[name], words))
    profiles = pl.DataFrame({"user": np.arange(1, users + 1)}).with_columns(
        gender=pl.col("user") % 3, age=1 + pl.col("user") % 6
    )
    _write(folder / "userid_profile.txt", iter([profiles]))
    _write(folder / "training.txt", _rows(random, rows, users, ads, sizes))


def _write(path: Path, frames: Iterator[pl.DataFrame]) -> None:
    with path.open("wb") as stream:
        for frame in frames:
            frame.write_csv(stream, separator="\t", include_header=False)


def _ranks(random: np.random.Generator, number: int, size: int) -> np.ndarray:
    import numpy as np

    return (number * random.random(size) ** STEEPNESS).astype(np.int64)


def _texts(random: np.random.Generator, number: int, words: int) -> Iterator[pl.DataFrame]:
    import polars as pl

    for start in range(0, number, CHUNK):
        size = min(CHUNK, number - start)
        columns = [pl.Series(f"{n}", _ranks(random, WORDS, size)) for n in range(words)]
        yield pl.DataFrame({"id": range(start, start + size)}).with_columns(
            pl.concat_str([column.cast(pl.String) for column in columns], separator="|").alias("text")
        )


def _rows(
    random: np.random.Generator, rows: int, users: int, ads: int, sizes: dict[str, int]
) -> Iterator[pl.DataFrame]:
    import numpy as np
    import polars as pl

    for start in range(0, rows, CHUNK):
        size = min(CHUNK, rows - start)
        ad, user = _ranks(random, ads, size), 1 + random.integers(0, users, size)
        user[random.random(size) < 1 / 16] = 0
        impressions = 1 + random.geometric(0.7, size) // 2
        yield pl.DataFrame(
            {
                "clicks": random.binomial(impressions, 0.035),
                "impressions": impressions,
                "url": 4298118681424644510 + ad % 26_273,
                "ad": 20_000_000 + ad,
                "advertiser": 20_000 + ad % 14_847,
                "depth": random.integers(1, 4, size),
                "position": random.integers(1, 4, size),
                **{name: _ranks(random, number, size) for name, number in sizes.items()},
                "user": user.astype(np.int64),
            }
        )


if __name__ == "__main__":
    main()

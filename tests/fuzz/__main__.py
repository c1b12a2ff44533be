"""``python -m tests.fuzz``: what ``make fuzz`` runs."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.cases import CASES
from tests.fuzz.material import build
from tests.fuzz.runner import FAILURES, failures, fuzz, table


def main() -> int:
    """Prints a table of all mutations and the causes of those that failed; 1 if any did."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="mutations (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="file types")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="repeat these mutations")
    parser.add_argument("--out", type=Path, default=Path("results/fuzz"), help="default: %(default)s")
    parser.add_argument(
        "--material", type=Path, help="valid inputs that an earlier call built (default: new ones)"
    )
    options = parser.parse_args()
    numbers = options.only or range(options.count)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        material = options.material or build(Path(folder))
        print(f"material built in {time.monotonic() - start:.0f} s", flush=True)
        verdicts = fuzz(
            [case for case in CASES if not options.case or case.name in options.case],
            material, numbers=numbers, seed=options.seed, jobs=options.jobs, results=options.out.resolve(),
        )  # fmt: skip
    print(table(verdicts))
    print(f"{len(verdicts):,} mutations, seed {options.seed}, {time.monotonic() - start:.0f} s")
    print(failures(verdicts))
    return int(any(verdict.kind in FAILURES for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())

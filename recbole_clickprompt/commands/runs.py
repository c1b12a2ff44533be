"""Arguments that commands over finished runs share: the runs, the rows, and the file for the table."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.arguments import check_minimum, reject_settings
from recbole_clickprompt.errors import DataError, SettingError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from recbole_clickprompt.evaluation.run_folder import RunFolder

__all__ = [
    "add_runs",
    "add_runs_and_baseline",
    "add_sampling",
    "baseline_of",
    "bootstrap_options",
    "check_options",
    "emit_table",
    "named_runs",
    "parse_runs",
]  # fmt: skip


def add_runs(parser: argparse.ArgumentParser) -> None:
    """The runs, a baseline among them, and a file for the table."""
    add_runs_and_baseline(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table: .csv, .parquet or .json")


def add_runs_and_baseline(parser: argparse.ArgumentParser) -> None:
    """The runs and a baseline among them."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN",
        help="a run's .pth file or the folder next to it, NAME=RUN to give it a name, or the table of a grid",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="NAME|RUN", help="the run that others are compared with")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The split, and how its rows are resampled for intervals."""
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap draws (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2020, help="seed of the draws (default: %(default)s)")
    parser.add_argument("--confidence", type=float, default=0.95, help="level of intervals (default: %(default)s)")


def bootstrap_options(options: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of ``compare_runs`` and ``compare_subsets`` that control the bootstrap."""
    return {name: getattr(options, name) for name in ("samples", "seed", "confidence")}


def check_options(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Checks the options that commands over finished runs share.

    Raises:
        SettingError: An argument is unknown, the file for the table has another type, or a number is out of range.
    """
    reject_settings(options, settings)
    if options.out is not None:
        from recbole_clickprompt.evaluation.tables import check_table_path

        check_table_path(options.out)
    if "samples" in options:
        check_minimum(options, 1, "samples")
        check_minimum(options, 0, "seed")
        if not 0 < options.confidence < 1:
            raise SettingError(f"--confidence must be between 0 and 1, got {options.confidence}")


def parse_runs(options: argparse.Namespace) -> tuple[dict[str, RunFolder], str | None]:
    """The runs by name, and the name of the baseline among them, or None.

    Raises:
        SettingError: A name or a run is given twice, or the baseline is none of them.
        DataError: There is no such finished run.
    """
    runs = named_runs(options.runs)
    return runs, baseline_of(runs, options.baseline)


def named_runs(arguments: Sequence[str]) -> dict[str, RunFolder]:
    """The runs by name, in order.

    A run may also be the table of a grid, which stands for its runs under their names. The name of another one is
    the NAME of ``NAME=RUN``, or else the title of the run's model, with the seed or the folder's name
    appended where two runs would share it. Copies of one run in two folders are reported by a warning.

    Raises:
        SettingError: A name or a run is given twice.
        DataError: There is no such finished run or table.
    """
    from recbole_clickprompt.evaluation.run_folder import open_run

    given: list[tuple[str, RunFolder]] = []
    for argument in arguments:
        if Path(argument).suffix in (".csv", ".parquet"):
            given += _runs_of_grid(Path(argument))
            continue
        name, equals, path = argument.partition("=")
        named = bool(equals and name) and not Path(argument).exists()
        given.append((name, open_run(path)) if named else ("", open_run(argument)))
    folders = Counter(run.folder.resolve() for _, run in given)
    twice = next((folder for folder, count in folders.items() if count > 1), None)
    if twice is not None:
        raise SettingError(f"the run {twice.name} is given twice")
    names = [name or run.title for name, run in given]
    for addition in (lambda run: f"seed {run.info['seed']}", lambda run: run.folder.name):
        shared = {name for name, count in Counter(names).items() if count > 1}
        names = [
            f"{name}, {addition(run)}" if name in shared and not explicit else name
            for name, (explicit, run) in zip(names, given, strict=True)
        ]
    shared = {name for name, count in Counter(names).items() if count > 1}
    if shared:
        raise SettingError(f"two runs have the name {min(shared)!r}; give each a different one")
    runs = dict(zip(names, (run for _, run in given), strict=True))
    for first, second in itertools.combinations(runs, 2):
        if runs[first].info == runs[second].info:
            getLogger().warning(f"{first} and {second} are copies of one run: their run.json files are equal")
    return runs


def _runs_of_grid(table: Path) -> list[tuple[str, RunFolder]]:
    """The runs in a table that `recbole-cp grid` wrote; names have the seed where there are several."""
    from recbole_clickprompt.evaluation.run_folder import open_run
    from recbole_clickprompt.tuning.results import read_results

    if not table.is_file():
        raise DataError(f"there is no table of a grid {table}")
    rows = read_results(table, ["run", "seed", "checkpoint"]).to_dict("records")
    if lacking := next((row["run"] for row in rows if not isinstance(row["checkpoint"], str)), None):
        raise DataError(f"{table}: the run {lacking} has no run folder; name the others one by one")
    several = len({row["seed"] for row in rows}) > 1
    return [
        (f"{row['run']}, seed {row['seed']}" if several else str(row["run"]), open_run(row["checkpoint"]))
        for row in rows
    ]


def baseline_of(runs: Mapping[str, RunFolder], baseline: str | None, others: Iterable[str] = ()) -> str | None:
    """The name that ``--baseline`` gives: a run's, also by path, or one of ``others``; None if it is not given.

    Raises:
        SettingError: It is none of the runs.
    """
    from recbole_clickprompt.evaluation.baselines import BASELINES

    names = [*runs, *others]
    if baseline is None or baseline in names:
        return baseline
    path = Path(baseline.partition("=")[2] or baseline)
    folder = (path.with_suffix("") if path.suffix == ".pth" else path).resolve()
    for name, run in runs.items():
        if run.folder.resolve() == folder:
            return name
    reason = (
        "; the runs have no trivial baselines in common" if baseline in BASELINES else nearest(baseline, names)
    )
    raise SettingError(f"--baseline must be one of {', '.join(names)}, got {baseline!r}{reason}")


def emit_table(table: pd.DataFrame, text: str, *, out: Path | None) -> None:
    """Prints ``text``, and writes the table to the file ``out`` if that is given."""
    if out is not None:
        from recbole_clickprompt.evaluation.tables import write_table

        write_table(table, out)
    print(text)

"""What commands over finished runs share: which runs, which rows, where the table goes."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.evaluation.run_folder import RunFolder, open_run
from recbole_clickprompt.evaluation.tables import check_table_path, write_table

__all__ = [
    "add_runs",
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
    parser.add_argument(
        "runs", nargs="+", metavar="RUN",
        help="a run's .pth file or the folder beside it; NAME=RUN gives it a name",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="NAME|RUN", help="the run that others are compared with")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table: .csv, .parquet or .json")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The part of the data set, and how rows are resampled for intervals."""
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap draws (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2020, help="of the draws (default: %(default)s)")
    parser.add_argument("--confidence", type=float, default=0.95, help="of intervals (default: %(default)s)")


def bootstrap_options(options: argparse.Namespace) -> dict[str, Any]:
    """How rows are resampled, as ``compare_runs`` and ``compare_subsets`` take it."""
    return {name: getattr(options, name) for name in ("samples", "seed", "confidence")}


def check_options(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Refuses what no analysis can use.

    Raises:
        SettingError: An unknown argument, a file of another kind, or a number out of range.
    """
    if settings:
        raise SettingError(f"{options.command} knows no {settings[0]}; see recbole-cp {options.command} --help")
    if options.out is not None:
        check_table_path(options.out)
    if "samples" in options:
        if options.samples < 1:
            raise SettingError(f"--samples must be 1 or more, got {options.samples}")
        if options.seed < 0:
            raise SettingError(f"--seed must be 0 or more, got {options.seed}")
        if not 0 < options.confidence < 1:
            raise SettingError(f"--confidence must be between 0 and 1, got {options.confidence}")


def parse_runs(options: argparse.Namespace) -> tuple[dict[str, RunFolder], str | None]:
    """The runs by name, and the name of the baseline among them, where one is asked for.

    Raises:
        SettingError: A name or a run is given twice, or the baseline is none of them.
        DataError: There is no such finished run.
    """
    runs = named_runs(options.runs)
    return runs, baseline_of(runs, options.baseline)


def named_runs(arguments: Sequence[str]) -> dict[str, RunFolder]:
    """The runs by name, in order: NAME of ``NAME=RUN``, or its model, with seed or file where two share that.

    A warning tells of a run that is there under two folders.

    Raises:
        SettingError: A name or a run is given twice.
        DataError: There is no such finished run.
    """
    given: list[tuple[str, RunFolder]] = []
    for argument in arguments:
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
            f"{name}, {addition(run)}" if name in shared and not own else name
            for name, (own, run) in zip(names, given, strict=True)
        ]
    shared = {name for name, count in Counter(names).items() if count > 1}
    if shared:
        raise SettingError(f"two runs are called {min(shared)!r}; give each a name of its own")
    runs = dict(zip(names, (run for _, run in given), strict=True))
    for first, second in itertools.combinations(runs, 2):
        if runs[first].info == runs[second].info:
            getLogger().warning(f"{first} and {second} are copies of one run: their run.json say the same")
    return runs


def baseline_of(runs: Mapping[str, RunFolder], baseline: str | None) -> str | None:
    """The name of the run that ``--baseline`` means, by its name or its path; None where none is asked for.

    Raises:
        SettingError: It is none of the runs.
    """
    if baseline is None or baseline in runs:
        return baseline
    path = Path(baseline.partition("=")[2] or baseline)
    folder = (path.with_suffix("") if path.suffix == ".pth" else path).resolve()
    for name, run in runs.items():
        if run.folder.resolve() == folder:
            return name
    raise SettingError(f"--baseline must be one of {', '.join(runs)}, got {baseline!r}{nearest(baseline, runs)}")


def emit_table(table: pd.DataFrame, text: str, *, out: Path | None) -> None:
    """Prints the table as text, and writes it to a file where one is asked for."""
    if out is not None:
        write_table(table, out)
    print(text)

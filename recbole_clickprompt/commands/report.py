"""Write one HTML page about finished runs: learning curves, metrics, long tail, latency, calibration, settings.

The page holds all it needs, plotly included, and asks for nothing from the network. Runs are compared with
--baseline (default: the first). Two panels need the checkpoints and their data set, and are left out unless asked
for: --latency times the runs side by side, or takes the table that `recbole-cp latency --out=FILE` wrote;
--attention masks the fields of the first test rows of each run with a PLM, as `recbole-cp attention` does.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from recbole_clickprompt.commands import latency
from recbole_clickprompt.commands.attention import attention_of
from recbole_clickprompt.commands.runs import baseline_of, named_runs
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.report.build import Extras, build_report
from recbole_clickprompt.evaluation.run_folder import RunFolder
from recbole_clickprompt.files import write_text
from recbole_clickprompt.methods.base import Curve
from recbole_clickprompt.methods.registry import find_method, methods
from recbole_clickprompt.tuning.results import read_results

__all__ = ["add_arguments", "execute"]

_TIMES = ["median_ms", "p95_ms"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the page and what is computed for it."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN",
        help="a run's .pth file or the folder beside it; NAME=RUN gives it a name",
    )  # fmt: skip
    parser.add_argument("--out", "-o", type=Path, default=Path("report.html"), help="default: %(default)s")
    parser.add_argument("--baseline", metavar="NAME|RUN", help="the run that others are compared with")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap draws (default: %(default)s)")
    parser.add_argument("--latency", nargs="?", const="", metavar="FILE", help="measure it, or take it from FILE")
    parser.add_argument(
        "--attention", nargs="?", const=3, type=int, metavar="N", help="of the first N test rows (default: 3)"
    )


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the page, whole or not at all, and says where."""
    if settings:
        raise SettingError(f"report knows no {settings[0]}; see recbole-cp report --help")
    if options.out.suffix not in (".html", ".htm"):
        raise SettingError(f"the page's file must end in .html, got {options.out}")
    for name in ("samples", "attention"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise SettingError(f"--{name} must be 1 or more, got {getattr(options, name)}")
    runs = named_runs(options.runs)
    baseline = baseline_of(runs, options.baseline)
    attention = None if options.attention is None else _attention(runs, options.attention)
    table, note = (None, "") if options.latency is None else _latency(options, runs, baseline)
    extras = Extras(latency=table, latency_note=note, attention=attention, curves=_curves())
    page = build_report(runs, baseline=baseline, samples=options.samples, extras=extras)
    write_text(options.out, page)
    print(f"{options.out}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, {len(page) / 2**20:.1f} MiB")


def _latency(
    options: argparse.Namespace, runs: Mapping[str, RunFolder], baseline: str | None
) -> tuple[pd.DataFrame, str]:
    if not options.latency:
        parser = argparse.ArgumentParser()
        latency.add_arguments(parser)
        return latency.measure(parser.parse_args(options.runs), runs, baseline or next(iter(runs)))
    path = Path(options.latency)
    if not os.path.isfile(path) or path.suffix not in (".csv", ".parquet", ".json"):
        raise DataError(f"--latency: {path} is no table; recbole-cp latency --out writes one as .csv or .parquet")
    table = read_results(path, [], numbers=_TIMES)
    lacking = {"run", *_TIMES} - set(table)
    if lacking:
        raise DataError(f"--latency: {path} has no column {min(lacking)}; recbole-cp latency --out writes them")
    unmeasured = table["run"].isna() | table[_TIMES].isna().any(axis=1) | (table[_TIMES] < 0).any(axis=1)
    if unmeasured.any():
        raise DataError(f"--latency: {path}: a row has no run, or no time of 0 ms or more; measure it again")
    table = table[table["run"].isin(list(runs))]
    if table.empty:
        raise DataError(f"--latency: {path} holds none of the runs {', '.join(runs)}; name them as there")
    if table["run"].duplicated().any():
        twice = table.loc[table["run"].duplicated(), "run"].iloc[0]
        raise DataError(f"--latency: {path} has the run {twice!r} more than once; leave one row of it")
    return table, f"from {path.name}"


def _curves() -> list[Curve]:
    # Two methods may share a stage
    return list(dict.fromkeys(curve for method in methods() for curve in method.curves))


def _attention(runs: Mapping[str, RunFolder], count: int) -> dict[str, pd.DataFrame]:
    prompted = {
        name: run
        for name, run in runs.items()
        if find_method(run.info["model"]).attention(run.info["settings"]) is not None
    }
    if not prompted:
        raise SettingError("--attention needs a run whose model reads prompts, and none does; leave it out")
    return {name: attention_of(run, range(count)) for name, run in prompted.items()}

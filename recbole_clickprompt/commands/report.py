"""Write one HTML page about finished runs: learning curves, metrics, long tail, latency, calibration, settings.

The page is self-contained, plotly included, and makes no network requests. Runs are compared with --baseline
(default: the first). Two panels need the checkpoints and their data set, and are computed only on request:
--latency times the runs side by side, or takes the table that `recbole-cp latency --out=FILE` wrote; --attention
masks the fields of the first test rows of each run with a PLM, as `recbole-cp attention` does. Without --latency,
the page has the times of those runs that a grid with `costs` has measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.arguments import check_minimum, reject_settings
from recbole_clickprompt.commands.attention import attention_of
from recbole_clickprompt.commands.restored_runs import default_device, visit_runs
from recbole_clickprompt.commands.runs import add_runs_and_baseline, baseline_of, named_runs
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.files import write_text
from recbole_clickprompt.methods.registry import methods

if TYPE_CHECKING:
    import pandas as pd

    from recbole_clickprompt.evaluation.report.build import Extras
    from recbole_clickprompt.evaluation.run_folder import RunFolder
    from recbole_clickprompt.host.restore import Restored

__all__ = ["add_arguments", "execute"]

_TIMES = ["median_ms", "p95_ms"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the page and what is computed for it."""
    add_runs_and_baseline(parser)
    parser.add_argument("--out", "-o", type=Path, default=Path("report.html"), help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap draws (default: %(default)s)")
    parser.add_argument("--latency", nargs="?", const="", metavar="FILE", help="measure it, or read it from FILE")
    parser.add_argument(
        "--attention", nargs="?", const=3, type=int, metavar="N", help="of the first N test rows (default: 3)"
    )


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the page as a whole or not at all, and prints its path.

    Raises:
        SettingError: An argument is invalid.
        DataError: A run or the table of latencies cannot be read.
        WeightsError: A checkpoint cannot be restored.
    """
    from recbole_clickprompt.evaluation.report.build import build_report

    reject_settings(options, settings)
    if options.out.suffix not in (".html", ".htm"):
        raise SettingError(f"the page's file must end in .html, got {options.out}")
    check_minimum(options, 1, "samples", "attention")
    runs = named_runs(options.runs)
    baseline = baseline_of(runs, options.baseline)
    extras = _extras(options, runs, baseline or next(iter(runs)))
    page = build_report(runs, baseline=baseline, samples=options.samples, extras=extras)
    write_text(options.out, page)
    print(f"{options.out}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, {len(page) / 2**20:.1f} MiB")


def _extras(options: argparse.Namespace, runs: Mapping[str, RunFolder], baseline: str) -> Extras:
    """Everything that needs the checkpoints, each of which is restored once for all panels."""
    from recbole_clickprompt.commands.prediction_timer import PredictionTimer
    from recbole_clickprompt.evaluation.report.build import Extras

    compute = {} if options.attention is None else {name: attention_of(run) for name, run in runs.items()}
    compute = {name: function for name, function in compute.items() if function is not None}
    if options.attention is not None and not compute:
        raise SettingError("--attention needs a run whose model reads prompts, and none does; leave it out")
    latency, note = _read_latency(Path(options.latency), runs) if options.latency else (None, "")
    timer = PredictionTimer(default_device()) if options.latency == "" else None
    attention: dict[str, pd.DataFrame] = {}

    def visit(name: str, run: Restored) -> None:
        if function := compute.get(name):
            attention[name] = function(run, range(options.attention), "test")
        if timer is not None:
            timer.add(name, run)

    needed = {name: run for name, run in runs.items() if timer is not None or name in compute}
    visit_runs(needed, visit, device=default_device())
    if timer is not None:
        latency, note = timer.measure(baseline)
    return Extras(
        latency=latency,
        latency_note=note,
        attention=attention if compute else None,
        # Two methods may share a stage
        curves=list(dict.fromkeys(curve for method in methods() for curve in method.curves)),
        measures=list(dict.fromkeys(curve for method in methods() for curve in method.measures)),
    )


def _read_latency(path: Path, runs: Mapping[str, RunFolder]) -> tuple[pd.DataFrame, str]:
    """The rows of these runs in a table of ``recbole-cp latency --out``, and where they come from."""
    from recbole_clickprompt.tuning.results import read_results

    if not path.is_file() or path.suffix not in (".csv", ".parquet", ".json"):
        raise DataError(f"--latency: {path} is no table; recbole-cp latency --out writes one as .csv or .parquet")
    table = read_results(path, [], numbers=_TIMES)
    lacking = {"run", *_TIMES} - set(table)
    if lacking:
        raise DataError(f"--latency: {path} has no column {min(lacking)}; recbole-cp latency --out writes them")
    unmeasured = table["run"].isna() | table[_TIMES].isna().any(axis=1) | (table[_TIMES] <= 0).any(axis=1)
    if unmeasured.any():
        raise DataError(f"--latency: {path}: a row has no run, or no time above 0 ms; measure it again")
    table = table[table["run"].isin(list(runs))]
    if table.empty:
        raise DataError(f"--latency: {path} holds none of the runs {', '.join(runs)}; use the names of that table")
    if table["run"].duplicated().any():
        twice = table.loc[table["run"].duplicated(), "run"].iloc[0]
        raise DataError(f"--latency: {path} has the run {twice!r} more than once; leave one row of it")
    return table, f"from {path.name}"

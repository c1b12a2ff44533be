"""Time the prediction of finished runs, side by side on the same rows (Table 8 of the paper).

Milliseconds for a batch of 128 test rows that is on the device already, the scores left there: median and 95th
percentile over all rounds and batches. Runs take turns in a random order, each warm. Ratios of medians are to
--baseline (default: the first run), with a bootstrap interval. Give a plain backbone, ClickPromptNoPLM and
ClickPrompt of one data set and split. Each computes in the precision it was trained in (enable_amp).

Reads the runs' checkpoints and their data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from recbole_clickprompt.commands.runs import add_runs, check_options, emit_table, parse_runs
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.comparison import check_same_rows
from recbole_clickprompt.evaluation.latency import summarize_times, time_interleaved
from recbole_clickprompt.evaluation.run_folder import RunFolder
from recbole_clickprompt.evaluation.tables import markdown_table, number, with_interval

__all__ = ["add_arguments", "execute", "markdown", "measure"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the batches and the device."""
    add_runs(parser)
    parser.add_argument("--batch-size", type=int, default=128, help="rows (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=20, help="at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is timed (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: what torch takes)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints a table with a line for each run, and on what it was measured."""
    check_options(options, settings)
    runs, baseline = parse_runs(options)
    table, how = measure(options, runs, baseline or next(iter(runs)))
    emit_table(table, f"{markdown(table, batch_size=options.batch_size)}\n\n{how}", out=options.out)


def measure(options: argparse.Namespace, runs: Mapping[str, RunFolder], baseline: str) -> tuple[pd.DataFrame, str]:
    """``summarize_times`` of runs, and on what and how it was measured, in words.

    Raises:
        SettingError: A number is out of range, or there is no such device.
        DataError: There are fewer rows than one batch holds.
        WeightsError: A checkpoint cannot be restored.
    """
    import torch

    for name in ("batch_size", "batches", "rounds"):
        if getattr(options, name) < 1:
            raise SettingError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(options, name)}")
    if options.threads is not None and options.threads < 1:
        raise SettingError(f"--threads must be 1 or more, got {options.threads}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("--device=cuda: torch sees no GPU here; leave it out or take cpu")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    calls, batches = _calls(
        {name: run.checkpoint for name, run in runs.items()}, device, options.batch_size, options.batches
    )
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    with torch.inference_mode():
        times = time_interleaved(calls, batches=batches, rounds=options.rounds, wait=wait)
    on_cpu = f"CPU, threads: {torch.get_num_threads()}"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else on_cpu
    how = f"{batches} batches of {options.batch_size} rows, {options.rounds} rounds, {where}"
    return summarize_times(times, baseline=baseline).set_index("run").loc[list(calls)].reset_index(), how


def _calls(
    checkpoints: Mapping[str, Any], device: Any, batch_size: int, batches: int
) -> tuple[dict[str, Callable[[int], Any]], int]:
    from recbole_clickprompt.host.restore import restore
    from recbole_clickprompt.trainer.predictions import row_keys
    from recbole_clickprompt.trainer.stage import autocast

    calls: dict[str, Callable[[int], Any]] = {}
    rows = {}
    for name, checkpoint in checkpoints.items():
        run = restore(checkpoint, device=device)
        dataset = run.test_data._dataset
        count = min(batches, len(dataset) // batch_size)
        if not count:
            raise DataError(
                f"{name} has {len(dataset)} test rows, fewer than one batch of {batch_size}; set --batch-size"
            )
        rows[name] = row_keys(dataset)
        parts = [dataset[n * batch_size : (n + 1) * batch_size].to(device) for n in range(count)]

        def call(number: int, run: Any = run, parts: Any = parts) -> Any:
            with autocast(device, run.config["enable_amp"]):
                return run.model.predict(parts[number])

        calls[name] = call
    check_same_rows(rows)
    return calls, count


def markdown(table: pd.DataFrame, *, batch_size: int) -> str:
    """What ``summarize_times`` gives as a Markdown table."""
    header = ["run", f"ms per {batch_size} rows", "95th percentile", "ratio [95 %]"]
    rows = [
        [
            line["run"],
            number(line["median_ms"], ".3f"),
            number(line["p95_ms"], ".3f"),
            with_interval(line["ratio"], line["ratio_low"], line["ratio_high"], ".3f"),
        ]
        for line in table.to_dict("records")
    ]
    return markdown_table(header, rows)

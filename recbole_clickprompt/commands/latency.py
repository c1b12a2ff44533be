"""Time the predictions of finished runs, side by side on the same rows (Table 8 of the paper).

Milliseconds for a batch of 128 test rows that is already on the device, where the scores remain: median and 95th
percentile over all rounds and batches. Runs take turns in random order, each warmed up. Ratios of medians are
relative to --baseline (default: the first run), with a bootstrap interval. Give a plain backbone, ClickPromptNoPLM
and ClickPrompt of one data set and split. Each computes in the precision it was trained in (enable_amp).

Models that encode texts of items are timed once more, on batches of items that training never saw, with caches
that hold the vectors of some of them (--hit-rates).

Reads the runs' checkpoints and their data set. Published models (`recbole-cp publish`) are timed on rows made of
their vocabularies instead, without caches.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.published_models import add_published, published_baseline, published_models
from recbole_clickprompt.commands.restored_runs import default_device, visit_runs
from recbole_clickprompt.commands.runs import add_runs, check_options, emit_table, parse_runs
from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    import pandas as pd

    from recbole_clickprompt.host.restore import Restored

__all__ = ["add_arguments", "execute", "markdown"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the batches and the device."""
    add_runs(parser)
    parser.add_argument("--batch-size", type=int, default=128, help="rows of a batch (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=20, help="at most this many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: %(default)s)")
    parser.add_argument(
        "--hit-rates", default="0,0.5,0.9,1", metavar="A,B",
        help="shares of cached texts, for models that encode texts; not part of --out (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where available")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints a table with a line per run, and how it was measured.

    Raises:
        SettingError: An argument is invalid, or there is no such device.
        DataError: There are fewer rows than one batch holds, or the rows of two runs differ.
        WeightsError: A checkpoint cannot be restored.
    """
    check_options(options, settings)
    published = published_models(options.runs)
    runs, baseline = ({}, None) if published else parse_runs(options)
    first = published_baseline(published, options.baseline) if published else baseline or next(iter(runs))
    check_minimum(options, 1, "batch_size", "batches", "rounds", "threads")

    import torch

    from recbole_clickprompt.commands import hit_rates
    from recbole_clickprompt.commands.prediction_timer import PredictionTimer

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("--device=cuda: torch finds no GPU here; leave it out or use cpu")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = default_device() if options.device is None else torch.device(options.device)
    shape = {"batch_size": options.batch_size, "batches": options.batches, "rounds": options.rounds}
    timer = PredictionTimer(device, **shape)
    by_rate = hit_rates.HitRateTimer(device, rates=hit_rates.parse_rates(options.hit_rates), **shape)

    def visit(name: str, run: Restored) -> None:
        timer.add(name, run)
        by_rate.add(name, run)

    visit_runs(runs, visit, device=device)
    add_published(timer, published, device=device)
    table, how = timer.measure(first)
    texts = [markdown(table, batch_size=options.batch_size), how]
    if len(rates := by_rate.measure()):
        texts.append(hit_rates.markdown(rates, batch_size=options.batch_size))
    emit_table(table, "\n\n".join(texts), out=options.out)


def markdown(table: pd.DataFrame, *, batch_size: int) -> str:
    """The result of ``summarize_times`` as a Markdown table."""
    from recbole_clickprompt.evaluation.tables import interval_cell, markdown_table, number

    header = ["run", f"ms per {batch_size} rows", "95th percentile", "ratio [95 %]"]
    rows = [
        [
            line["run"],
            number(line["median_ms"], ".3f"),
            number(line["p95_ms"], ".3f"),
            interval_cell(line, "ratio", ".3f"),
        ]
        for line in table.to_dict("records")
    ]
    return markdown_table(header, rows)

"""Measure click histories: building the log, the cost of a training step, and RecBole's sequential DIN.

    python -m benchmarks.history

Three measurements on one thread:
  log    the log of the clicks of generated rows, in a separate process: time and peak memory, imports included
  step   a training step of DCNv2 with pooled histories, as a multiple of the time of one without
  DIN    rows per second of DIN here and of RecBole's DIN on its sequential data set

Each batch is read from the loader within the measured time. Models alternate batch by batch; times are medians of
CPU time, which other processes on the machine affect less. Both DINs read the same rows (RecBole drops the first
of each user), histories of equal length with every earlier row, and have one hidden layer of 64 units in the MLP
and in the attention. Every --key=value is a setting of all models, such as --embedding_size=16.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.measure import measured
from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import UserError

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader import TrainDataLoader
    from recbole.data.interaction import Interaction

__all__ = ["build_log", "main"]

_PER_USER = 20  # generated rows
_DIN = {"embedding_size": 16, "mlp_hidden_size": [64]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.history``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.history", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--dataset", default="ml-100k", help="of the models (default: %(default)s)")
    for name, default, meaning in (
        ("rows", 10_000_000, "generated rows of the log"),
        ("length", 20, "clicks in a history"),
        ("batch", 2048, "rows of a training step"),
        ("rounds", 15, "timed steps of each model"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    parser.add_argument("--only-log", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(arguments)
    try:
        check_minimum(options, 1, "rows", "length", "batch", "rounds")
        if options.only_log:
            print(f"| log of {options.rows:,} rows | {build_log(options.rows):.1f} s CPU time |", flush=True)
            return 0
        sys.argv = sys.argv[:1]  # RecBole reads the command line of the process
        print("| what | result |\n|---|---|", flush=True)
        command = [sys.executable, "-m", "benchmarks.history", "--only-log", f"--rows={options.rows}"]
        print(f"| its process | {measured(command)} |", flush=True)
        _compare_models(options, parse_settings(rest))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def build_log(rows: int) -> float:
    """CPU seconds in which the histories of generated rows are found, as for a data set in three parts."""
    import numpy as np

    from recbole_clickprompt.data.click_log import RowOrder, build_click_log

    random = np.random.default_rng(0)
    users = random.integers(0, max(rows // _PER_USER, 1), rows)
    times = np.floor(random.random(rows) * (rows // 4))  # with ties
    clicked = random.integers(0, 2, rows, dtype=bool)
    start = time.process_time()
    order = RowOrder(users, times)
    build_click_log(order, clicked & (np.arange(rows) < rows // 10 * 8))  # of training rows
    build_click_log(order, clicked)
    return time.process_time() - start


class _Contender(NamedTuple):
    """A model, its batches without end, and its training step."""

    config: Config
    batches: Iterator[Interaction]
    step: Callable[[Interaction], object]


def _compare_models(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    import torch

    from benchmarks.stages.workload import scratch_folder

    torch.set_num_threads(1)
    shared = {
        "dataset": options.dataset, "train_batch_size": options.batch, "gpu_id": "", "show_progress": False,
        "state": "error", **settings,
    }  # fmt: skip
    with scratch_folder():
        # A history of one click costs next to nothing, but its vectors widen the network as much
        kinds = [("mean", 1), ("mean", options.length), ("attention", options.length)]
        pooled = [
            _ours({**shared, "model": "DCNV2", "history_pooling": kind, "history_length": length})
            for kind, length in kinds
        ]
        plain, *others = _medians([_ours({**shared, "model": "DCNV2"}), *pooled], options.rounds)
        print(f"| DCNv2, step of {options.batch} rows | {plain[0] * 1e3:.1f} ms |")
        for (seconds, _), (kind, length) in zip(others, kinds, strict=True):
            print(f"| DCNv2, {kind} of {length} clicks | {seconds / plain[0]:.2f}x |", flush=True)
        ours = _ours({**shared, **_DIN, "model": "DIN", "history_length": options.length, "history": "all"})
        host = _recbole_din({**shared, **_DIN}, options.length, ours.config)
        speeds = [rows / seconds for seconds, rows in _medians([ours, host], options.rounds)]
        print(f"| DIN | {speeds[0]:,.0f} rows/s |\n| RecBole's DIN | {speeds[1]:,.0f} rows/s |")
        print(f"| DIN compared with RecBole's | {speeds[0] / speeds[1]:.2f}x |")


def _medians(contenders: Sequence[_Contender], rounds: int) -> list[tuple[float, int]]:
    """CPU seconds per step and rows of a batch; two rounds of warm-up are not counted."""
    seconds: list[list[float]] = [[] for _ in contenders]
    rows = [0] * len(contenders)
    for number in range(rounds + 2):
        for place, contender in enumerate(contenders):
            start = time.process_time()
            batch = next(contender.batches)
            contender.step(batch)
            if number >= 2:
                seconds[place].append(time.process_time() - start)
            rows[place] = max(rows[place], len(batch))
    return [(median(times), count) for times, count in zip(seconds, rows, strict=True)]


def _whole_batches(loader: TrainDataLoader) -> Iterator[Interaction]:
    """Without the last of each pass, which is smaller; where there is one batch only, that one."""
    while True:
        yield from itertools.islice(loader, max(len(loader) - 1, 1))


def _ours(settings: dict[str, Any]) -> _Contender:
    """A plain backbone with this package's trainer."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    from benchmarks.rowwise import training_step
    from recbole_clickprompt.methods.registry import resolve_name

    model, implied = resolve_name(settings["model"])
    config = Config(config_dict={**implied, **settings, "model": model})
    loader = data_preparation(config, create_dataset(config))[0]
    return _Contender(config, _whole_batches(loader), training_step(config, loader))


def _recbole_din(settings: dict[str, Any], length: int, ours: Config) -> _Contender:
    """RecBole's model, data set and optimizer, on the labeled rows and features of a config of ours."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer

    config = Config(
        "DIN",
        config_dict={
            **settings,
            **{key: ours[key] for key in ("load_col", "val_interval", "threshold")},
            # Fields that are one feature here have one word there
            "seq_len": {**(ours["seq_len"] or {}), **dict.fromkeys(ours["whole_text_fields"] or (), 1)},
            "MAX_ITEM_LIST_LENGTH": length,
            "train_neg_sample_args": None,
            "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": None, "mode": "labeled"},
            "metrics": ["AUC"],
            "valid_metric": "AUC",
        },
    )
    loader = data_preparation(config, create_dataset(config))[0]
    model = get_model("DIN")(config, loader._dataset).train()
    optimizer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model).optimizer

    # Importing RecBole's sequential models enables it for the whole process, by a line in one of them
    torch.autograd.set_detect_anomaly(False)

    def step(batch: Interaction) -> None:
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()

    return _Contender(config, _whole_batches(loader), step)


if __name__ == "__main__":
    sys.exit(main())

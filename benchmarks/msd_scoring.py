"""Measure scoring with MSD's stored vectors against DIN, with the same DNN and history.

    python -m benchmarks.msd_scoring

Both score the same test rows in memory, on one thread, in turn; CPU time of a batch, the median over the rounds.
MSD scores from the tables of vectors that a checkpoint contains, so its student does not run.

Every --key=value is a setting of both models, such as --history_length=50.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import UserError

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["main"]

_MODELS: dict[str, dict[str, Any]] = {
    "MSD on DNN": {"model": "MSD", "backbone": "DNN", "train_texts": "none", "user_knowledge": "static"},
    "DIN": {"model": "DIN", "history": "all"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.msd_scoring``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.msd_scoring", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1024, 4096], help="rows per batch")
    parser.add_argument("--rounds", type=int, default=31, help="timed batches (default: %(default)s)")
    options, rest = parser.parse_known_args(arguments)
    try:
        check_minimum(options, 1, "rounds")
        sys.argv = sys.argv[:1]  # RecBole reads the command line of the process
        print(_measure(options, parse_settings(rest)))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace, settings: dict[str, Any]) -> str:
    import torch

    from benchmarks.stages.workload import scratch_folder
    from recbole_clickprompt.evaluation.tables import markdown_table

    torch.set_num_threads(1)
    shared = {
        "dataset": options.dataset, "gpu_id": "", "show_progress": False, "state": "error", "history_length": 20,
        "mlp_hidden_size": [128, 64], "embedding_size": 16, **settings,
    }  # fmt: skip
    with scratch_folder():
        scorers = [_scorer({**shared, **own}) for own in _MODELS.values()]
        table = []
        for size in options.batches:
            times: list[list[float]] = [[] for _ in scorers]
            for number in range(options.rounds + 1):
                for scorer, measured in zip(scorers, times, strict=True):
                    measured.append(scorer(size, number))
            msd, din = (median(measured[1:]) for measured in times)  # the first batch warms up
            table.append([str(size), f"{1e3 * msd:.2f}", f"{1e3 * din:.2f}", f"{msd / din:.2f}"])
    return markdown_table(["rows per batch", *(f"{name}, ms" for name in _MODELS), "ratio"], table)


def _scorer(settings: dict[str, Any]) -> Any:
    """A function of a batch size and a number that scores a batch of test rows and returns the seconds it took."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    from recbole_clickprompt.methods.registry import resolve_name

    name, implied = resolve_name(settings["model"])
    config = Config(config_dict={**implied, **settings, "model": name})
    init_seed(config["seed"], config["reproducibility"])
    train, _, test = (loader._dataset for loader in data_preparation(config, create_dataset(config)))
    model = get_model(name)(config, train)
    if hasattr(model, "begin"):
        model.begin(train)
    model.eval()

    def batch(size: int, number: int) -> Interaction:
        return test[(torch.arange(size) + number * size) % len(test)]

    @torch.inference_mode()
    def score(size: int, number: int) -> float:
        rows = batch(size, number)
        started = time.process_time()
        model.predict(rows)
        return time.process_time() - started

    score(64, 0)  # MSD computes its tables of vectors
    return score


if __name__ == "__main__":
    sys.exit(main())

"""Measure a training step of MSD against reading every text of every row with the whole student.

    python -m benchmarks.msd_training

Three measurements on one thread, in CPU time:
  step      a training step as it is: each distinct target text read once, states of the frozen layers from a file,
            vectors of clicks from the table; and its part of the table's refreshment, once per epoch
  plain     the same loss with T + 1 texts per row, none shared, read by all layers of the student, all trained;
            on a small slice of the rows, from which the time of a whole step is extrapolated
  top       with student_pooling: last, the trained layers with the top one for the last token alone, against
            whole layers

Every --key=value is a setting, such as --student_num_layers=10.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from recbole_clickprompt.methods.msd.model import MSD
    from recbole_clickprompt.methods.text_vectors.level import Level, Rows

__all__ = ["build_model", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.msd_training``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.msd_training", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    for name, default, meaning in (
        ("batch", 1024, "rows of a training step"),
        ("slice", 8, "rows of the plain step"),
        ("rounds", 5, "timed steps"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    options, rest = parser.parse_known_args(arguments)
    try:
        check_minimum(options, 1, "batch", "slice", "rounds")
        sys.argv = sys.argv[:1]  # RecBole reads the command line of the process
        for line in _measure(options, parse_settings(rest)):
            print(line, flush=True)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace, settings: dict[str, Any]) -> list[str]:
    import torch

    from benchmarks.stages.workload import scratch_folder

    torch.set_num_threads(1)
    given = {
        "model": "MSD", "dataset": options.dataset, "train_batch_size": options.batch, "gpu_id": "",
        "micro_batch_size": options.batch, "show_progress": False, "state": "error", **settings,
    }  # fmt: skip
    with scratch_folder():
        model, rows = build_model(given)
        started = time.process_time()
        model.texts._refreshed = False
        model.texts.refresh()
        refreshment = (time.process_time() - started) / max(len(rows) // options.batch, 1)
        batches = [rows[torch.randperm(len(rows))[: options.batch]] for _ in range(options.rounds + 1)]
        ours = _median_step(model, batches)
        top = _top_layer(build_model({**given, "student_pooling": "last"})[0])
        model, rows = build_model({**given, "lora_layers": None, "train_texts": "all"})
        model.texts.student.encoded = lambda level, ids: _each(model, level, ids)  # type: ignore[method-assign]
        slot = options.slice / options.batch
        plain = _median_step(model, [batch[torch.arange(options.slice)] for batch in batches]) / slot
    whole = ours + refreshment
    return [
        "| what | CPU time |\n|---|---|",
        f"| step of {options.batch} rows | {1e3 * ours:.0f} ms |",
        f"| its part of the table's refreshment | {1e3 * refreshment:.0f} ms |",
        f"| plain step, extrapolated from a slice of {options.slice} rows | {1e3 * plain:.0f} ms |",
        f"| speed compared with the plain step | {plain / whole:.1f}x |",
        f"| trained layers, the top one for the last token alone, compared with whole ones | {top:.1f}x |",
    ]


def build_model(settings: dict[str, Any]) -> tuple[MSD, Any]:
    """A model that has begun training, and the training rows."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    config = Config(config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    rows = data_preparation(config, create_dataset(config))[0]._dataset
    model = get_model("MSD")(config, rows).train()
    model.begin(rows)
    return model, rows


def _each(model: MSD, level: Level, ids: Tensor) -> Rows:
    """As ``StudentVectors.encoded``, reading the text of each id, however often it occurs."""
    import torch

    from recbole_clickprompt.methods.msd.encoding import encode
    from recbole_clickprompt.methods.msd.student_texts import StudentTexts
    from recbole_clickprompt.methods.text_vectors.level import Rows

    assert isinstance(level.texts, StudentTexts)
    vectors = encode(model.texts.student.encoder, level.texts.tokens, level.index[ids].flatten())
    return Rows(level.adaptor(vectors), torch.arange(ids.numel()).view(ids.shape))


def _median_step(model: MSD, batches: Sequence[Any]) -> float:
    """CPU seconds of a training step; the first batch warms up."""
    from recbole_clickprompt.trainer.optimizer import build_optimizer

    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=1e-3, plm_learning_rate=1e-4, weight_decay=0.1
    )

    def step(batch: Any) -> None:
        for part, weight in model.split(batch, len(batch)):
            (weight * model.calculate_loss(part)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return median([_seconds(lambda batch=batch: step(batch)) for batch in batches][1:])  # type: ignore[misc]


def _top_layer(model: MSD) -> float:
    """How much faster vectors are computed with one token in the top layer, without gradient."""
    import torch

    from recbole_clickprompt.methods.msd.student_texts import StudentTexts

    encoder, texts = model.texts.student.encoder.eval(), model.texts.named_levels()["item"].texts
    assert isinstance(texts, StudentTexts)
    tokens, lengths = texts.padded(torch.arange(min(64, len(texts))))
    states = encoder.lower(tokens, lengths) if encoder.num_frozen else tokens

    @torch.no_grad()
    def whole() -> None:
        upper = encoder._run(encoder._layers[encoder.num_frozen :], states, first=False)
        encoder._norm(upper)

    @torch.no_grad()
    def last() -> None:
        encoder(states, lengths)

    if not (encoder.num_frozen and encoder._splits):
        return float("nan")
    times = [median([_seconds(run) for _ in range(6)][1:]) for run in (whole, last)]
    return times[0] / times[1]


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())

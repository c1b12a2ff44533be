"""Measure MSD on a GPU in float32 and bf16: distillation, encoding of texts, and training with LoRA.

    python -m benchmarks.msd_gpu                     # at most ten minutes, most of them on the CPU to prepare
    python -m benchmarks.msd_gpu --device cpu        # where there is no GPU

Each line is the median over the rounds; the device is idle before and after each measured call. Losses and vectors
in bf16 are compared with those in float32. Every --key=value is a setting, such as --student_num_layers=10.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import SettingError, UserError

__all__ = ["main"]

_Line = tuple[str, str, float, float, float]  # what, unit, amount per second in float32 and in bf16, difference


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.msd_gpu``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.msd_gpu", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--dataset", default="ml-100k", help="(default: %(default)s)")
    parser.add_argument("--knowledge", default="ml-100k-items", help="answers (default: %(default)s)")
    parser.add_argument("--student", default="smollm2", help="(default: %(default)s)")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="(default: %(default)s)")
    for name, default, meaning in (
        ("layers", 30, "of the student"),
        ("answers", 64, "answers per step of distillation"),
        ("batch", 1024, "rows of a training step"),
        ("rounds", 5, "timed calls"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    options, rest = parser.parse_known_args(arguments)
    try:
        check_minimum(options, 1, "layers", "answers", "batch", "rounds")
        sys.argv = sys.argv[:1]  # RecBole reads the command line of the process
        print(_measure(options, parse_settings(rest)))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace, settings: dict[str, Any]) -> str:
    import torch

    from recbole_clickprompt.evaluation.tables import markdown_table

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("--device is cuda, but torch finds no GPU here; give --device cpu")
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    lines = [_distillation(options), *_encoding_and_training(options, settings)]
    table = [
        [what, unit, f"{plain:,.0f}", f"{amp:,.0f}", f"{amp / plain:.2f}x", f"{difference:.1e}"]
        for what, unit, plain, amp, difference in lines
    ]
    header = [f"on {name}, torch {torch.__version__}", "per second", "float32", "bf16", "ratio", "difference"]
    return markdown_table(header, table)


def _distillation(options: argparse.Namespace) -> _Line:
    """Steps of distillation, forward and backward, in real tokens per second; the difference of losses."""
    import torch

    from benchmarks.distillation import build_student

    model = build_student(
        options.student,
        layers=options.layers,
        knowledge=options.knowledge,
        batch=options.answers,
        candidates="data",
    ).to(options.device)
    model.begin_batch(0, 0)
    parts = model.split(model.examples[torch.arange(options.answers)], options.answers)
    tokens = sum(len(read) + len(written) - 1 for part, _ in parts for read, written in zip(*part, strict=True))

    def step() -> float:
        model.zero_grad()
        losses = [weight * model.calculate_loss(part) for part, weight in parts]
        torch.stack(losses).sum().backward()
        return sum(loss.item() for loss in losses)

    (plain, loss), (amp, other) = (_timed(step, options, amp=enabled) for enabled in (False, True))
    return "distillation", "tokens", tokens / plain, tokens / amp, abs(loss - other)


def _encoding_and_training(options: argparse.Namespace, settings: dict[str, Any]) -> list[_Line]:
    """Vectors of all texts of items, in texts per second; and training steps with LoRA, in rows per second."""
    import torch

    from benchmarks.msd_training import build_model
    from benchmarks.stages.workload import scratch_folder
    from recbole_clickprompt.methods.msd.encoding import encode_all

    given = {
        "model": "MSD", "dataset": options.dataset, "train_batch_size": options.batch, "show_progress": False,
        "micro_batch_size": options.batch, "state": "error", "student": options.student, "knowledge": None,
        "student_num_layers": options.layers, "gpu_id": "0" if options.device == "cuda" else "",
        "user_knowledge": "static", **settings,
    }  # fmt: skip
    with scratch_folder():
        model, rows = build_model(given)
        model = model.to(options.device)
        texts = model.texts.named_levels()["item"].texts
        assert texts is not None
        encoder = model.texts.student.encoder
        (plain, vectors), (amp, others) = (
            _timed(lambda: encode_all(encoder, texts.tokens), options, amp=enabled) for enabled in (False, True)
        )
        gap = float((vectors - others).abs().max() / vectors.abs().max())
        encoded: _Line = ("encoding of items", "texts", len(texts) / plain, len(texts) / amp, gap)

        batch = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))[: options.batch]]
        batch = batch.to(torch.device(options.device))
        model.train()
        model.begin_batch(0, 0)

        def step() -> float:
            model.zero_grad()
            loss = model.calculate_loss(batch)
            loss.backward()
            return loss.item()

        (plain, loss), (amp, other) = (_timed(step, options, amp=enabled) for enabled in (False, True))
    return [encoded, ("training with LoRA", "rows", options.batch / plain, options.batch / amp, abs(loss - other))]


def _timed(run: Callable[[], Any], options: argparse.Namespace, *, amp: bool) -> tuple[float, Any]:
    """Seconds of a call, the median over the rounds after one to warm up, and its result."""
    import torch

    times, result = [], None
    for _ in range(options.rounds + 1):
        _wait(options.device)
        started = time.perf_counter()
        with torch.autocast(options.device, dtype=torch.bfloat16, enabled=amp):
            result = run()
        _wait(options.device)
        times.append(time.perf_counter() - started)
    return median(times[1:]), result


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())

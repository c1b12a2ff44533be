"""Measure speed and memory, compared with a reference implementation and with RecBole's trainer.

Stages: pamlm, finetune, inference (with the PLM; compared with the reference implementation with the same weights
on the same rows, after checking that the losses agree to 1e-5), joint-pamlm, joint-finetune (interaction layers;
compared with our exact model in bf16), joint-inference (compared with the backbone), backbone and
backbone-inference (compared with RecBole's). Every --key=value is a setting, its value read as YAML, such as
--plm_num_layers=2.

--scaling instead prints tables of time per row and memory against text length, prompts, layers, batch, vocabulary
and rows; this takes about ten minutes. --curves instead trains every contender for a number of steps from three
seeds, and compares the losses in bf16 with those in float32.

--variant "key=value key=value" adds a contender with these settings; it may be repeated.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import SettingError, UserError, nearest
from recbole_clickprompt.files import write_text

if TYPE_CHECKING:
    from benchmarks.stages.job import Job

__all__ = ["main"]

_SEEDS = [1, 2, 3]
_QUICK = {"batches": [8], "backbone_batches": [64], "repeats": 1, "epoch_rows": 512}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark as ``python -m benchmarks.bench``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_arguments(parser)
    options, settings = parser.parse_known_args(arguments)
    sys.argv = sys.argv[:1]  # RecBole reads the command line of the process
    try:
        _execute(options, settings)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure, and for how long."""
    parser.add_argument("--dataset", "-d", default="ml-100k", help="default: %(default)s")
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="default: all")
    parser.add_argument("--batches", nargs="+", type=int, help="rows per step with the PLM (default: 64 256)")
    parser.add_argument("--backbone-batches", nargs="+", type=int, help="the same without (default: 256 2048)")
    parser.add_argument("--repeats", type=int, help="timed rounds over all contenders (default: 5)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--plm-size", choices=("base", "large"), help="a RoBERTa of this size, random weights")
    parser.add_argument("--variant", action="append", default=[], metavar="SETTINGS", help="add a contender")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="the first contender and those whose names contain one of these"
    )
    parser.add_argument(
        "--keep-memory", action="store_true", help="keep freed memory in the process, for all contenders"
    )
    parser.add_argument("--no-memory", action="store_true", help="skip memory, which needs many processes")
    parser.add_argument("--quick", action="store_true", help="smoke test: tiny batches, one round")
    parser.add_argument("--curves", type=int, metavar="STEPS", help="instead: losses after training, 3 seeds")
    parser.add_argument("--scaling", action="store_true", help="instead: growth with text, vocabulary, ...")
    parser.add_argument("--out", help="also write the results to a .json or .csv file")


def _execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Measures, prints the table as Markdown, and writes it to ``--out``.

    Raises:
        SettingError: An option is invalid.
        UnequalError: The losses of our model and the reference implementation differ.
    """
    import torch

    from benchmarks.stages.process import measure_memory, measure_time
    from benchmarks.stages.sizes import SIZES, save_random_plm
    from benchmarks.stages.table import markdown, write

    out = None if options.out is None else Path(options.out)
    suffixes = (".json",) if options.scaling or options.curves is not None else (".json", ".csv")
    if out is not None and out.suffix not in suffixes:
        raise SettingError(f"--out must end in {' or '.join(suffixes)}, got {options.out}")
    job = _job(options, parse_settings(settings), torch.cuda.is_available())
    with TemporaryDirectory() as folder:
        if options.plm_size:
            plm = save_random_plm(SIZES[options.plm_size], job.settings.get("plm", "minilm"), Path(folder))
            job.settings["plm"] = str(plm)
        if options.scaling or options.curves is not None:
            results = (
                _scaling(job, Path(folder), options.quick) if options.scaling else _curves(job, options.curves)
            )
            if out is not None:
                write_text(out, json.dumps(results, indent=1) + "\n")
            return
        result = measure_time(job)
        figures = result["figures"]
        if not options.no_memory:
            measure_memory(job, figures, lambda what: print(f"bench: {what}", file=sys.stderr, flush=True))
    about = {"PLM": options.plm_size or job.settings.get("plm", "minilm"), **_about(job, result)}
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    print(f"\n{markdown(figures)}")
    if out is not None:
        write(out, figures, about)


def _curves(job: Job, steps: int) -> dict[str, Any]:
    from benchmarks.stages.curves import curves_markdown
    from benchmarks.stages.process import measure_curves

    losses = measure_curves(job, steps, _SEEDS)
    print(curves_markdown(losses))
    return losses


def _scaling(job: Job, folder: Path, quick: bool) -> dict[str, Any]:
    from benchmarks.stages.process import measure_scaling
    from benchmarks.stages.scaling import axes, scaling_markdown

    tables = {}
    for axis in axes(job, folder / "data", quick=quick):
        measured = measure_scaling(axis, lambda what: print(f"bench: {what}", file=sys.stderr, flush=True))
        print(f"{scaling_markdown(axis, measured)}\n", flush=True)
        tables[axis.name] = [{"value": p.value, **m} for p, m in zip(axis.points, measured, strict=True)]
    return tables


def _job(options: argparse.Namespace, settings: dict[str, Any], has_cuda: bool) -> Job:
    from benchmarks.stages.job import STAGES, Job, contenders

    if options.device == "cuda" and not has_cuda:
        raise SettingError("--device cuda: torch finds no GPU here; use --device cpu")
    device = ("cuda" if has_cuda else "cpu") if options.device == "auto" else options.device
    for stage in options.stages or ():
        if stage not in STAGES:
            raise SettingError(f"--stages: there is no stage {stage}; the stages are {', '.join(STAGES)}"
                               f"{nearest(stage, STAGES)}")  # fmt: skip
    given = {
        key: getattr(options, key)
        for key in ("stages", "batches", "backbone_batches", "repeats", "threads", "only")
        if getattr(options, key) is not None
    }
    check_minimum(options, 1, "batches", "backbone_batches", "repeats", "threads", "curves")
    variants = [parse_settings([f"--{part}" for part in text.split()]) for text in options.variant]
    quick = _QUICK if options.quick else {}
    job = Job(**{**quick, **given, "dataset": options.dataset, "settings": settings, "device": device,
                 "keep_memory": options.keep_memory, "variants": variants})  # fmt: skip
    names = dict.fromkeys(c.name for stage, _ in job.cells() for c in contenders(stage, variants))
    for part in job.only or ():
        if not any(part in name for name in names):
            raise SettingError(f"--only: no contender has {part!r} in its name; they are {', '.join(names)}")
    return job


def _about(job: Job, result: dict[str, Any]) -> dict[str, Any]:
    import torch

    from benchmarks.stages.process import KEEP_MEMORY

    card = torch.cuda.get_device_name() if job.device == "cuda" else "none"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {result['threads']} threads, GPU {card}, torch {torch.__version__}",
        "allocator": " ".join(f"{key}={value}" for key, value in KEEP_MEMORY.items())
        if job.keep_memory
        else "default",
        "matrix product, GFLOP/s": ", ".join(f"{name} {value:.0f}" for name, value in result["peak"].items()),
        "difference from the reference": f"{result['difference']:.1e} at most, in float32 without dropout",
        "attention": "; ".join(f"{stage}: {kernel}" for stage, kernel in result["attention"].items()),
        "median of rounds": job.repeats,
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())

"""Peak memory and time of a training step of CTRL's contrast, for a batch of any size.

    python -m benchmarks.ctrl_memory --batch=6400 --micro-batch=64

The rows are training rows of a data set, so that texts have their lengths. The first step, in which the optimizer
allocates its moments, is counted too. On a CPU the peak is that of the process, imports included; on a GPU that of
torch's tensors. With a micro-batch of the size of the batch there is one pass over the whole batch, which shows
what gradient caching saves. Every --key=value is a setting of the model, such as --plm_num_layers=3.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_clickprompt.commands.arguments import check_minimum
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import SettingError, UserError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.ctrl_memory``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ctrl_memory", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--dataset", default="ml-100k", help="of the rows (default: %(default)s)")
    for name, default, meaning in (
        ("batch", 6400, "rows of a batch"),
        ("micro-batch", 64, "rows that pass through the language model at once"),
        ("steps", 1, "training steps"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    options, rest = parser.parse_known_args(arguments)
    sys.argv = sys.argv[:1]  # RecBole reads the command line of the process
    try:
        check_minimum(options, 1, "batch", "micro_batch", "steps")
        print(_measure(options, parse_settings(rest)), flush=True)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace, settings: dict[str, Any]) -> str:
    """A table with one row."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    import recbole_clickprompt  # noqa: F401 - registers the models
    from recbole_clickprompt.methods.registry import find_method
    from recbole_clickprompt.trainer.stage import TrainingStage

    given = {
        **settings, "pretrain_batch_size": options.batch, "micro_batch_size": options.micro_batch,
        "show_progress": False,
    }  # fmt: skip
    config = Config("CTRL", options.dataset, config_dict=given)
    train_data, *_ = data_preparation(config, create_dataset(config))
    dataset, device = train_data._dataset, config["device"]
    if len(dataset) < options.batch:
        raise SettingError(f"--batch is {options.batch}, but {options.dataset} has {len(dataset)} training rows")
    torch.manual_seed(config["seed"])
    (stage,) = find_method("CTRL").stages
    model = stage.build(config, dataset).to(device)
    training = TrainingStage.from_config(
        config, name="contrast", model=model, optimizer=stage.optimizer(config, model), steps=options.steps,
        epochs=1, schedule="constant", warmup_ratio=0.0, enable_amp=config["enable_amp"],
    )  # fmt: skip
    batch = dataset[torch.randperm(len(dataset))[: options.batch]].to(device)
    model.train()
    before, start = _peak_bytes(device), time.perf_counter()
    for _ in range(options.steps):
        loss = training.train_batch(batch)
    seconds = (time.perf_counter() - start) / options.steps
    precision = "bf16" if config["enable_amp"] else "float32"
    head = "| batch | micro-batch | PLM | backbone | device | before | peak | s per step | loss |"
    cells = [
        options.batch, options.micro_batch, config["plm"], config["backbone"], f"{device.type}, {precision}",
        f"{before / 2**30:.2f} GiB", f"{_peak_bytes(device) / 2**30:.2f} GiB", f"{seconds:.1f}", f"{loss:.4f}",
    ]  # fmt: skip
    return "\n".join([head, "|" + "---|" * len(cells), "| " + " | ".join(map(str, cells)) + " |"])


def _peak_bytes(device: Any) -> int:
    """Peak memory so far: of torch's tensors on a GPU, of this process on a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Unlike the peak that the kernel reports to a parent, it does not begin with the parent's memory
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())

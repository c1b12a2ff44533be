"""Memory and time per process of reading and training on generated rows that processes share.

``python -m benchmarks.sharded_rows --folder=rows`` prints a table for docs/performance.md. Every line is a run of
new processes: they read ten million rows of 100,000 users and items with ``row_sharding: user``, split them by
time, find click histories, and train DIN for a few steps. The folder is kept and reused; remove it yourself.
"""

from __future__ import annotations

import argparse
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.multiprocessing as mp

from benchmarks.load import SETTINGS

COLUMNS = (
    "processes", "rows per process", "MB after imports", "MB with the rows", "peak MB, reading",
    "peak MB, training", "s, reading", "CPU s, reading", "ms per step",
)  # fmt: skip


def work(rank: int, world: int, port: int, folder: str, name: str, steps: int, out: str) -> None:
    """One process of several; rank 0 writes what was measured."""
    sys.argv = sys.argv[:1]
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_clickprompt.host.atomic_reader  # noqa: F401
    from recbole_clickprompt import distributed
    from recbole_clickprompt.host.distributed import set_rank_environment
    from recbole_clickprompt.trainer.sampling import finetuning_loader
    from recbole_clickprompt.trainer.stage import TrainingStage

    torch.set_num_threads(1)
    if world > 1:
        set_rank_environment(local_rank=rank, nproc=world, offset=0, world=world, ip="localhost", port=port)
    settings = {
        **SETTINGS, "data_path": folder, "checkpoint_dir": out, "row_sharding": "user", "baselines": False,
        "backbone": "DIN", "history_length": 20, "train_batch_size": 8192,
    }  # fmt: skip
    config = Config("ClickPromptNoPLM", name, None, settings)
    init_seed(config["seed"], True)
    imports = _megabytes()
    begin = time.monotonic(), time.process_time()
    data = data_preparation(config, create_dataset(config))
    reading = [time.monotonic() - begin[0], time.process_time() - begin[1]]
    held, peak = _megabytes(), _peak()
    model = get_model("ClickPromptNoPLM")(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPromptNoPLM")(config, model)
    loader = finetuning_loader(config, data[0])
    stage = TrainingStage.from_config(
        config, name="finetune", model=model, optimizer=trainer.optimizer, steps=steps, epochs=1,
        schedule="constant", warmup_ratio=0.0, enable_amp=False,
    )  # fmt: skip
    model.train()
    seconds = []
    for number, batch in zip(range(steps), loader, strict=False):
        start = time.monotonic()
        if world > 1:
            stage.train_own_rows(batch, loader.share(number))
        else:
            stage.train_batch(batch)
        seconds.append(time.monotonic() - start)
    own = [len(data[0]._dataset), imports, held, peak, _peak(), *reading, 1e3 * sorted(seconds)[steps // 2]]
    of_ranks = distributed.current().all_gather(own)
    if rank == 0:
        most = [max(values) for values in zip(*of_ranks, strict=True)]
        rows = f"{min(values[0] for values in of_ranks):,} to {most[0]:,}" if world > 1 else f"{most[0]:,}"
        cells = [str(world), rows, *(f"{value:,.0f}" for value in most[1:])]
        Path(out, "found").write_text(f"| {' | '.join(cells)} |")
    distributed.destroy()


def _megabytes() -> float:
    return psutil.Process().memory_info().rss / 1e6


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(processes: int, *arguments: Any) -> str:
    """A line of the table."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as out:
        mp.start_processes(work, (processes, port, *arguments, out), nprocs=processes, start_method="spawn")
        return Path(out, "found").read_text()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10**7, help="default: %(default)s")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=5, help="steps of training (default: %(default)s)")
    parser.add_argument("--folder", type=Path, required=True, help="for the generated data set")
    options = parser.parse_args()
    name = f"load-100000-100000-{options.rows}-0"
    if not (options.folder / name / f"{name}.inter").is_file():
        generate = [
            sys.executable,
            "-m",
            "benchmarks.load",
            f"--rows={options.rows}",
            f"--folder={options.folder}",
        ]
        subprocess.run([*generate, "--part=generate"], check=True)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    for processes in options.processes:
        print(measure(processes, str(options.folder), name, options.steps), flush=True)


if __name__ == "__main__":
    main()

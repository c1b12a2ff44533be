"""Speed, memory and traffic of training with complete and with sharded embedding tables, on generated rows.

``python -m benchmarks.sharded_tables`` prints a table for docs/performance.md. Every line is trained by new
processes: DCNV2 with tables of users and items of equal size and six fields of 1,000 values, batches of 8,192 rows
of ids drawn uniformly, row-wise Adagrad. RecBole is the same model with RecBole's own layers, trainer and Adam.
Where tables do not fit into the free memory, the line says so. The estimate for GPUs is that of TorchRec's
planner; nothing is trained for it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.multiprocessing as mp

BATCH, WIDTH, WARM_UP = 8192, 32, 3
SMALL_FIELDS = [f"context_{number}" for number in range(6)]
# Memory of a row with its first-order weight and the optimizer's numbers: TorchRec rounds widths up, RecBole has a
# gradient and two moments of each table
ROW_BYTES = {"RecBole": 16 * (WIDTH + 1), "torch": 4 * WIDTH + 12, "torchrec": 4 * WIDTH + 24}
PROCESS_BYTES = 900 * 10**6  # of a process without tables


class Fields:
    """What a model needs of a data set: fields, their types and sizes.

    Args:
        rows: Rows of the tables together.
    """

    def __init__(self, rows: int) -> None:
        from recbole.utils import FeatureSource, FeatureType

        small = dict.fromkeys(SMALL_FIELDS, 1000)
        large = (rows - sum(small.values())) // 2
        self._sizes = {"user_id": large, "item_id": large, **small}
        self.field2type = dict.fromkeys(self._sizes, FeatureType.TOKEN)
        self.field2source = dict.fromkeys(SMALL_FIELDS, FeatureSource.INTERACTION)
        self.field2source |= {"user_id": FeatureSource.USER_ID, "item_id": FeatureSource.ITEM_ID}

    def fields(self, source: object = None) -> list[str]:
        """All of them."""
        return list(self._sizes)

    def num(self, field: str) -> int:
        """Ids of a field."""
        return self._sizes[field]


def batches(fields: Fields, count: int) -> list[Any]:
    """Batches of random ids and labels, equal in all processes."""
    from recbole.data.interaction import Interaction

    generator = torch.Generator().manual_seed(1)
    return [
        Interaction(
            {name: torch.randint(0, fields.num(name), (BATCH,), generator=generator) for name in fields.fields()}
            | {"label": torch.randint(0, 2, (BATCH,), generator=generator).float()}
        )
        for _ in range(count)
    ]


def train(rank: int, world: int, port: int, engine: str, rows: int, steps: int, out: str) -> None:
    """Trains in one process of several; rank 0 writes what was measured."""
    import sys

    sys.argv = sys.argv[:1]
    torch.set_num_threads(1)
    fields = Fields(rows)
    if engine == "RecBole":
        train_batch = recbole_step(fields, out)
        _write_found(_time_steps(train_batch, fields, steps, wait=lambda: None), [_peak()], out)
        return
    from recbole_clickprompt import distributed
    from recbole_clickprompt.host.distributed import set_rank_environment

    if world > 1:
        set_rank_environment(local_rank=rank, nproc=world, offset=0, world=world, ip="localhost", port=port)
    train_batch = own_step(engine, fields, steps, out)
    processes = distributed.current()
    times = _time_steps(train_batch, fields, steps, wait=processes.barrier)
    peaks = processes.all_gather(_peak())
    if rank == 0:
        _write_found(times, peaks, out)
    distributed.destroy()


def own_step(engine: str, fields: Fields, steps: int, out: str) -> Callable[[Any], object]:
    """What trains on a batch, with this project's trainer."""
    from recbole.config import Config
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_clickprompt  # noqa: F401
    from recbole_clickprompt.trainer.stage import TrainingStage

    settings = {
        "backbone": "DCNV2", "embedding_size": WIDTH, "train_stage": "finetune", "learner": "rowwise_adagrad",
        "weight_decay": 0.0, "embedding_engine": engine, "train_batch_size": BATCH, "checkpoint_dir": out,
        "gpu_id": "", "data_path": "dataset_atomic",
    }  # fmt: skip
    config = Config("ClickPromptNoPLM", "tiny", None, settings)
    init_seed(config["seed"], True)
    model = get_model("ClickPromptNoPLM")(config, fields)
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPromptNoPLM")(config, model)
    stage = TrainingStage.from_config(
        config, name="finetune", model=model, optimizer=trainer.optimizer, steps=steps, epochs=1,
        schedule="constant", warmup_ratio=0.0, enable_amp=False,
    )  # fmt: skip
    model.train()
    return stage.train_batch


def recbole_step(fields: Fields, out: str) -> Callable[[Any], object]:
    """What trains on a batch, with RecBole alone: complete tables, Adam over all rows."""
    from recbole.config import Config
    from recbole.model.context_aware_recommender.dcnv2 import DCNV2
    from recbole.trainer import Trainer
    from recbole.utils import init_seed

    settings = {
        "embedding_size": WIDTH, "train_batch_size": BATCH, "checkpoint_dir": out, "gpu_id": "", "learner": "adam",
        "data_path": "dataset_atomic",
        # The layers of props/backbone/DCNV2.yaml
        "structure": "parallel", "cross_layer_num": 6, "mlp_hidden_size": [256] * 6, "dropout_prob": 0.0,
        "reg_weight": 0.0,
    }  # fmt: skip
    config = Config("DCNV2", "tiny", None, settings)
    init_seed(config["seed"], True)
    model = DCNV2(config, fields)
    optimizer = Trainer(config, model).optimizer
    model.train()

    def train_batch(batch: Any) -> None:
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()

    return train_batch


def _time_steps(
    train_batch: Callable[[Any], object], fields: Fields, steps: int, *, wait: Callable[[], None]
) -> list[tuple[float, ...]]:
    """Seconds, CPU seconds and bytes written of each step after the first ones."""
    times = []
    for number, batch in enumerate(batches(fields, WARM_UP + steps)):
        wait()
        begin = (time.monotonic(), time.process_time(), _written())
        train_batch(batch)
        if number >= WARM_UP:
            now = (time.monotonic(), time.process_time(), _written())
            times.append(tuple(after - before for after, before in zip(now, begin, strict=True)))
    return times


def _write_found(times: list[tuple[float, ...]], peaks: list[int], out: str) -> None:
    seconds, cpu, sent = (sorted(column) for column in zip(*times, strict=True))
    middle = len(times) // 2
    found = {
        "ms": 1e3 * seconds[middle], "cpu_ms": 1e3 * cpu[middle], "peak": max(peaks),
        "sent": sum(sent) / len(sent),
    }  # fmt: skip
    Path(out, "found.json").write_text(json.dumps(found))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _written() -> int:
    """Bytes that this process has written so far, to sockets too."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def measure(engine: str, rows: int, processes: int, steps: int) -> dict[str, Any]:
    """What ``train`` measures in so many processes."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as out:
        mp.start_processes(
            train, (processes, port, engine, rows, steps, out), nprocs=processes, start_method="spawn"
        )
        return json.loads(Path(out, "found.json").read_text())


def estimate(rows: int, gpus: int, memory: int) -> str:
    """What TorchRec's planner expects of a table on GPUs, eight per machine."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.planner.types import Perf, Storage

    from recbole_clickprompt.embeddings.planning import collections, plan_tables

    class Keep:
        """Keeps the options of the best plan."""

        best: list[Any] = []

        def log(self, *_: object, best_plan: list[Any], **__: object) -> None:
            self.best = best_plan

    keep = Keep()
    plan_tables(
        collections({"embeddings": (rows, WIDTH), "first_order": (rows, 1)}),
        EmbeddingCollectionSharder(fused_params={"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD}),
        sharding="auto", device="cuda", world=gpus, local_world=8, memory=memory, batch_size=BATCH,
        reads=2.0 + len(SMALL_FIELDS), stats=[keep],
    )  # fmt: skip
    shards = [shard for option in keep.best for shard in option.shards if shard.rank == 0]
    storage: Storage = sum((shard.storage for shard in shards[1:]), shards[0].storage)
    perf: Perf = sum((shard.perf for shard in shards[1:]), shards[0].perf)
    kinds = ", ".join(f"{option.name} {option.sharding_type}" for option in keep.best)
    return (
        f"{rows:,} rows on {gpus} GPUs of {memory / 2**30:.0f} GiB: {kinds}; {storage.hbm / 2**30:.1f} GiB per "
        f"GPU, {perf.total:.2f} ms per step of {BATCH:,} rows per GPU for the tables alone"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**6, 10**7], help="rows of the tables together")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=15, help="steps that are timed")
    arguments = parser.parse_args()
    columns = ("rows of the tables", "engine", "processes", "rows/s", "CPU ms per step and process",
               "peak memory per process, MB", "written per step and process, MB")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for rows in arguments.rows:
        for engine in ("RecBole", "torch", "torchrec"):
            for processes in [1] if engine == "RecBole" else arguments.processes:
                copies = processes if engine == "torch" else 1
                needed = rows * ROW_BYTES[engine] * copies + PROCESS_BYTES * processes
                if needed > psutil.virtual_memory().available:
                    print(
                        f"| {rows:,} | {engine} | {processes} | does not fit: needs about {needed / 1e9:.0f} GB "
                        f"{'| ' * (len(columns) - 4)}|",
                        flush=True,
                    )
                    continue
                found = measure(engine, rows, processes, arguments.steps)
                print(
                    f"| {rows:,} | {engine} | {processes} | {BATCH / found['ms'] * 1e3:,.0f} | "
                    f"{found['cpu_ms']:.0f} | {found['peak'] / 1e6:,.0f} | {found['sent'] / 1e6:.1f} |",
                    flush=True,
                )
    print(estimate(10**9, 16, 80 << 30))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

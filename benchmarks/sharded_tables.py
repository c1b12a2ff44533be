"""Speed, memory and traffic of training with complete and with sharded embedding tables, on generated rows.

``python -m benchmarks.sharded_tables`` prints a table for docs/performance.md. Every line is trained by new
processes: DCNV2 with tables of users and items of equal size and six fields of 1,000 values, batches of 8,192 rows
of ids drawn uniformly, row-wise Adagrad. The estimate for GPUs is that of TorchRec's planner; nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

BATCH, WIDTH, WARM_UP = 8192, 32, 3
SMALL_FIELDS = [f"context_{number}" for number in range(6)]


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
    from recbole.config import Config
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_clickprompt  # noqa: F401
    from recbole_clickprompt import distributed
    from recbole_clickprompt.host.distributed import set_rank_environment
    from recbole_clickprompt.trainer.stage import TrainingStage

    torch.set_num_threads(1)
    if world > 1:
        set_rank_environment(local_rank=rank, nproc=world, offset=0, world=world, ip="localhost", port=port)
    settings = {
        "backbone": "DCNV2", "embedding_size": WIDTH, "train_stage": "finetune", "learner": "rowwise_adagrad",
        "weight_decay": 0.0, "embedding_engine": engine, "train_batch_size": BATCH, "checkpoint_dir": out,
        "gpu_id": "", "data_path": "dataset_atomic",
    }  # fmt: skip
    config = Config("ClickPromptNoPLM", "tiny", None, settings)
    init_seed(config["seed"], True)
    fields = Fields(rows)
    model = get_model("ClickPromptNoPLM")(config, fields)
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPromptNoPLM")(config, model)
    stage = TrainingStage.from_config(
        config, name="finetune", model=model, optimizer=trainer.optimizer, steps=steps, epochs=1,
        schedule="constant", warmup_ratio=0.0, enable_amp=False,
    )  # fmt: skip
    model.train()
    seconds: list[float] = []
    cpu: list[float] = []
    sent: list[float] = []
    for number, batch in enumerate(batches(fields, WARM_UP + steps)):
        distributed.current().barrier()
        begin = (time.monotonic(), time.process_time(), _written())
        stage.train_batch(batch)
        if number >= WARM_UP:
            for values, now, before in zip(
                (seconds, cpu, sent), (time.monotonic(), time.process_time(), _written()), begin, strict=True
            ):
                values.append(now - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peaks = distributed.current().all_gather(peak)
    if rank == 0:
        found = {
            "ms": 1e3 * sorted(seconds)[steps // 2], "cpu_ms": 1e3 * sorted(cpu)[steps // 2], "peak": max(peaks),
            "sent": sum(sent) / steps,
        }  # fmt: skip
        Path(out, "found.json").write_text(json.dumps(found))
    distributed.destroy()


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
        for engine in ("torch", "torchrec"):
            for processes in arguments.processes:
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

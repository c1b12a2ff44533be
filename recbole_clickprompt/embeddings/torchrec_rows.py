"""The engine TorchRec: processes exchange rows in the forward pass, and their gradients when tables are updated.

A fused optimizer updates a table in each backward pass through a look-up. Several look-ups of a table in one step,
such as those of the target item and of the history in DIN, or of the parts of a batch, must be one update, so the
backward pass of the model ends at the rows that were looked up, and ``update`` continues it once per step::

    look_up:   ids -> TorchRec -> rows -> detached rows -> model -> loss -> gradients of the detached rows
    update:    TorchRec <- gradients                  (one look-up)
               TorchRec again, for all ids <- gradients  (several)
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.planning import FEATURE, collections, padded_width, plan_tables
from recbole_clickprompt.embeddings.table import HasModules, ShardedTable, TrainedRows, sharded_tables
from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    from torchrec.distributed.embedding import ShardedEmbeddingCollection

__all__ = ["check_installed", "shard_tables"]


def check_installed() -> None:
    """Raises SettingError if TorchRec or its kernels are not installed."""
    if missing := [name for name in ("torchrec", "fbgemm_gpu") if importlib.util.find_spec(name) is None]:
        raise SettingError(
            f"embedding_engine: torchrec needs {' and '.join(missing)}, which are not installed; install the "
            "extra torchrec as docs/scaling.md shows, or leave embedding_engine out"
        )


def shard_tables(model: HasModules, *, sharding: str, device: torch.device, batch_size: int, eps: float) -> None:
    """Gives each process its rows of the tables of a model, with their initial values.

    All processes call it. Rows are updated by row-wise Adagrad with the sum of the gradients of all processes.

    Args:
        model: A model with ``ShardedTable`` modules.
        sharding: One of ``planning.SHARDINGS``.
        device: Of this process.
        batch_size: Rows per step, of all processes.
        eps: Added to the square root of the accumulated mean squares.

    Raises:
        SettingError: The tables do not fit into the memory of the processes.
    """
    # A model that was loaded from files is not trained
    tables = {name.replace(".", "-"): table for name, table in sharded_tables(model) if table.rows is None}
    if tables:
        with _quiet():
            _shard(tables, sharding, device, batch_size, eps)


def _shard(
    tables: Mapping[str, ShardedTable], sharding: str, device: torch.device, batch_size: int, eps: float
) -> None:
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode
    from torchrec.distributed.comm_ops import set_gradient_division
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.types import ShardingEnv

    group = distributed.current()
    if not dist.is_initialized():  # TorchRec needs a group for a single process too
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    set_gradient_division(False)  # gradients are sums, not means, as those of the other weights
    modules = collections({name: (table.num_embeddings, table.embedding_dim) for name, table in tables.items()})
    parameters = {
        "optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        "learning_rate": 0.0,  # each step sets it
        "bounds_check_mode": BoundsCheckMode.FATAL,
    }
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", group.world))
    memory = min(group.all_gather(_free_memory(device, local_world)))
    plan = group.broadcast_object(
        plan_tables(
            modules,
            EmbeddingCollectionSharder(fused_params=dict(parameters)),
            sharding=sharding,
            device=device.type,
            world=group.world,
            local_world=local_world,
            memory=memory,
            batch_size=math.ceil(batch_size / group.world),
            reads=1.0,  # it compares tables that are read equally often
        )
    )
    environment = ShardingEnv.from_process_group(dist.group.WORLD)
    for name, table in tables.items():
        scale = _padding_scale(table.embedding_dim)
        sharder = EmbeddingCollectionSharder(fused_params={**parameters, "eps": scale * eps})
        # It draws initial values of its own
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            sharded = sharder.shard(modules[name], plan[name], environment, device, name)
        table.rows = TorchRecRows(sharded, name, table.embedding_dim)
        table.draw_rows()


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without the messages in which TorchRec and FBGEMM list their arguments."""
    # Later it warns of a property of torch that TorchRec itself asks for
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _free_memory(device: torch.device, local_world: int) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available // local_world


def _padding_scale(width: int) -> float:
    """Factor on learning rate and eps by which padding a table changes no update.

    The kernel takes the mean of squares over all columns, of which the added ones are zero. With means of width d
    and padded width D it updates by ``r g / (sqrt(m d / D) + e)``, which is the update without padding for r and e
    times ``sqrt(d / D)``.
    """
    return math.sqrt(width / padded_width(width))


class TorchRecRows(TrainedRows):
    """The rows of one table.

    Args:
        sharded: TorchRec's collection of this table alone.
        name: Of the table.
        width: d.
    """

    def __init__(self, sharded: ShardedEmbeddingCollection, name: str, width: int) -> None:
        self._sharded, self._width = sharded, width
        # Ids, rows, and detached rows of the look-ups of a step
        self._read: list[tuple[Tensor, Tensor, Tensor]] = []
        self._optimizer = sharded.fused_optimizer
        key = f"embeddings.{name}.weight"
        self.begin, self.weight, self.sums = 0, torch.empty(0, width), torch.empty(0)
        weight = sharded.state_dict()[key]
        if weight.local_shards():  # otherwise another process has the table
            sums = self._optimizer.state_dict()["state"][key][f"{name}.momentum1"]
            self.begin = weight.local_shards()[0].metadata.shard_offsets[0]
            full = weight.local_shards()[0].tensor.detach().zero_()
            self.weight, self.sums = full[:, :width], sums.local_shards()[0].tensor.detach()

    def look_up(self, ids: Tensor) -> Tensor:
        """As ``Rows.look_up``; rows come from the processes that hold them."""
        distinct, places = ids.unique(return_inverse=True)
        rows = self._fetch(distinct)
        if torch.is_grad_enabled():
            detached = rows.detach().requires_grad_()
            self._read.append((distinct, rows, detached))
            rows = detached
        return nn.functional.embedding(places, rows)[:, : self._width]

    def begin_step(self, rate: float) -> None:
        """As ``TrainedRows.begin_step``; FBGEMM reads the rate in the forward pass."""
        self._read = []
        for group in self._optimizer.param_groups:
            group["lr"] = rate * _padding_scale(self._width)
        self._optimizer.step()  # which only passes the rate on

    def update(self) -> None:
        """As ``TrainedRows.update``."""
        reads, self._read = self._read, []
        if not reads:
            return
        rows = reads[0][1] if len(reads) == 1 else self._fetch(torch.cat([ids for ids, _, _ in reads]))
        gradients = [torch.zeros_like(d) if d.grad is None else d.grad for _, _, d in reads]
        rows.backward(torch.cat(gradients))

    def _fetch(self, ids: Tensor) -> Tensor:
        """Rows of ids from the processes that hold them, ``(ids, padded d)``; their backward pass is an update."""
        from torchrec import KeyedJaggedTensor

        request = KeyedJaggedTensor(
            keys=[FEATURE], values=ids, lengths=torch.tensor([len(ids)], device=ids.device)
        )
        return self._sharded(request)[FEATURE].values()

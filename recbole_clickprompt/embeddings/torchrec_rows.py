"""The engine TorchRec: rows are exchanged in the forward pass and updated in the backward pass."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from typing import TYPE_CHECKING

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.planning import FEATURE, collections, padded_width, plan_tables
from recbole_clickprompt.embeddings.table import TrainedRows, sharded_tables
from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    from torchrec.distributed.embedding import ShardedEmbeddingCollection

__all__ = ["check_installed", "shard_tables"]


def check_installed() -> None:
    """Raises SettingError if TorchRec or its kernels are not installed."""
    if missing := [name for name in ("torchrec", "fbgemm_gpu") if importlib.util.find_spec(name) is None]:
        raise SettingError(
            f"embedding_engine: torchrec needs {' and '.join(missing)}, which are not installed; install the extra "
            "torchrec as docs/scaling.md shows, or leave embedding_engine out"
        )


def shard_tables(
    model: nn.Module, *, sharding: str, device: torch.device, batch_size: int, learning_rate: float, eps: float
) -> None:
    """Gives each process its rows of the tables of a model, with their initial values.

    All processes call it. Rows are updated by row-wise Adagrad in the backward pass, by the sum of the gradients of
    all processes.

    Args:
        model: A model with ``ShardedTable`` modules.
        sharding: One of ``planning.SHARDINGS``.
        device: Of this process.
        batch_size: Rows per step, of all processes.
        learning_rate: The first learning rate.
        eps: Added to the square root of the accumulated mean squares.

    Raises:
        SettingError: The tables do not fit into the memory of the processes.
    """
    # A model that was loaded from files is not trained
    tables = {name.replace(".", "-"): table for name, table in sharded_tables(model) if table.rows is None}
    if not tables:
        return
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode
    from torchrec.distributed.comm_ops import set_gradient_division
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.types import ShardingEnv

    # It warns of a property of torch that TorchRec itself asks for
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    group = distributed.current()
    if not dist.is_initialized():  # TorchRec needs a group for a single process too
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    set_gradient_division(False)  # gradients are sums, not means, as those of the other weights
    modules = collections({name: (table.num_embeddings, table.embedding_dim) for name, table in tables.items()})
    parameters = {
        "optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        "learning_rate": learning_rate,
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
            reads=1.0,
        )
    )
    environment = ShardingEnv.from_process_group(dist.group.WORLD)
    for name, table in tables.items():
        scale = _padding_scale(table.embedding_dim)
        sharder = EmbeddingCollectionSharder(fused_params={**parameters, "eps": scale * eps})
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # it draws values of its own
            sharded = sharder.shard(modules[name], plan[name], environment, device, name)
        table.rows = TorchRecRows(sharded, name, table.embedding_dim)
        table.draw_rows()


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
        from torchrec import KeyedJaggedTensor

        distinct, places = ids.unique(return_inverse=True)
        request = KeyedJaggedTensor(
            keys=[FEATURE], values=distinct, lengths=torch.tensor([len(distinct)], device=ids.device)
        )
        vectors = self._sharded(request)[FEATURE].values()
        return nn.functional.embedding(places, vectors)[:, : self._width]

    def set_learning_rate(self, rate: float) -> None:
        """As ``TrainedRows.set_learning_rate``."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * _padding_scale(self._width)
        self._optimizer.step()  # which only passes the rate on


"""Which process holds which rows, by TorchRec's planner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    from torchrec.distributed.types import EmbeddingModuleShardingPlan

__all__ = ["FEATURE", "SHARDINGS", "collections", "padded_width", "plan_tables"]

# The kinds that the setting ``embedding_sharding`` allows; the planner chooses one for each table
SHARDINGS = {"auto": ["table_wise", "row_wise"], "row_wise": ["row_wise"], "table_wise": ["table_wise"]}
FEATURE = "ids"
_LANES = 4  # FBGEMM's kernels need rows of a multiple of 4 numbers
_RESERVED = 0.15  # of the memory of a process: for everything but tables


def padded_width(width: int) -> int:
    """The width of a table in FBGEMM."""
    return math.ceil(width / _LANES) * _LANES


def collections(shapes: Mapping[str, tuple[int, int]]) -> nn.ModuleDict:
    """TorchRec's ``EmbeddingCollection`` of each table, without memory.

    Args:
        shapes: ``(rows, d)`` by table. Names contain no dots.
    """
    from torchrec import EmbeddingCollection, EmbeddingConfig

    return nn.ModuleDict(
        {
            name: EmbeddingCollection(
                tables=[
                    EmbeddingConfig(
                        name=name, num_embeddings=rows, embedding_dim=padded_width(width), feature_names=[FEATURE]
                    )
                ],
                device=torch.device("meta"),
            )
            for name, (rows, width) in shapes.items()
        }
    )


def plan_tables(
    modules: nn.ModuleDict,
    sharder: Any,
    *,
    sharding: str,
    device: str,
    world: int,
    local_world: int,
    memory: int,
    batch_size: int,
    reads: float,
    stats: Iterable[Any] = (),
) -> dict[str, EmbeddingModuleShardingPlan]:
    """Plans which process holds which rows of which table.

    Args:
        modules: The result of ``collections``.
        sharder: TorchRec's sharder, with the parameters of the optimizer.
        sharding: One of ``SHARDINGS``.
        device: ``cpu`` or ``cuda``.
        world: Number of processes.
        local_world: Number of processes on one machine.
        memory: Of each process, in bytes.
        batch_size: Rows per step and process.
        reads: Embeddings that a row reads from each table.
        stats: TorchRec's ``Stats`` to report the plan to.

    Returns:
        The plan of each table.

    Raises:
        SettingError: The tables do not fit into the memory of the processes.
    """
    from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints
    from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
    from torchrec.distributed.planner.types import KernelConfig, PlannerError, TopologyFactory, TrainerConfig

    kind = {"cpu": "ddr_cap_bytes", "cuda": "hbm_cap_bytes"}[device]
    planner = EmbeddingShardingPlanner(
        topology=TopologyFactory.create_topology(
            TrainerConfig(world_size=world, local_world_size=local_world, **{kind: memory}),
            kernel_config=KernelConfig(compute_device=device),
        ),
        batch_size=batch_size,
        storage_reservation=FixedPercentageStorageReservation(_RESERVED),
        constraints={
            name: ParameterConstraints(
                sharding_types=SHARDINGS[sharding], compute_kernels=["fused"], pooling_factors=[reads]
            )
            for name in modules
        },
        stats=list(stats),
        debug=False,
    )
    try:
        return planner.plan(modules, [sharder]).plan
    except PlannerError as error:
        size = sum(weight.numel() * weight.element_size() for weight in modules.parameters())
        raise SettingError(
            f"embedding_sharding: {sharding} finds no place for tables of {size / 2**30:.3g} GiB in {world} "
            f"processes with {memory / 2**30:.3g} GiB each, of which {_RESERVED:.0%} are reserved; start more "
            "processes, on more machines, or take a smaller embedding_size"
        ) from error

"""The processes that train one model together, called ranks, and what they exchange."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["ProcessGroup", "current", "destroy", "init"]

T = TypeVar("T")

# Every rank does equal work between two exchanges, so a rank that is silent for this long is gone. (One that
# dies is noticed at once, by its closed connections.) Waiting for what rank 0 does alone has no such limit.
_LOST_AFTER = timedelta(minutes=10)
_PATIENCE = timedelta(days=7)


@dataclass
class ProcessGroup:
    """This process among those of its run; alone unless ``init`` was called.

    Attributes:
        rank: Its number over all machines.
        world: Number of ranks.
        local_rank: Its number on this machine.
        control: Group for names, decisions and waiting, which go over the CPU.
        is_padding: This rank computes along with the others for a row that is not its own and counts nowhere.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    control: Any = None
    is_padding: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def barrier(self) -> None:
        """Returns when all ranks have called it, no matter how long one takes."""
        if self.world > 1:
            dist.barrier(group=self.control)

    def broadcast_object(self, value: T) -> T:
        """The value that rank 0 has."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def all_gather(self, value: T) -> list[T]:
        """The value of every rank, in their order."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.control)
        return values

    def main_process_first(self, prepare: Callable[[], None]) -> None:
        """Has files prepared by one process, then by one per machine, then seen by all.

        Args:
            prepare: Does nothing where the files are there.
        """
        turns = [True] if self.world == 1 else [self.is_main, self.local_rank == 0, True]
        for mine in turns:
            if mine:
                prepare()
            self.barrier()

    def all_reduce(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The sums of some numbers over all ranks, in float64."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites tensors with those of rank 0."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)


_group = ProcessGroup()


def current() -> ProcessGroup:
    """This process among those of its run."""
    return _group


def init(*, rank: int, world: int, local_rank: int, address: str, port: int, device: torch.device) -> ProcessGroup:
    """Connects to the other ranks; NCCL connects GPUs, gloo CPUs.

    Args:
        address: Of the machine of rank 0.
        port: There.
        device: What this rank computes on.
    """
    global _group
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"tcp://{address}:{port}",
        rank=rank,
        world_size=world,
        timeout=_LOST_AFTER,
    )
    control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    _group = ProcessGroup(rank, world, local_rank, control)
    return _group


def destroy() -> None:
    """Ends what ``init`` began, when all ranks have called it; without ``init``, nothing."""
    global _group
    if _group.world > 1:
        _group.barrier()
        _group = ProcessGroup()
        dist.destroy_process_group()

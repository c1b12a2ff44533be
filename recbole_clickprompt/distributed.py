"""Process groups for distributed training, and their collective operations."""

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

# Ranks do equal work between two collective operations, so a rank that does not respond for this long is lost. (A
# dead rank is noticed at once by its closed connections.) Waiting for work that only rank 0 does takes longer.
_TIMEOUT = timedelta(minutes=10)
_CONTROL_TIMEOUT = timedelta(days=7)


@dataclass
class ProcessGroup:
    """This process and the others of its run; a single process unless ``init`` was called.

    Attributes:
        rank: Rank over all machines.
        world: Number of ranks.
        local_rank: Rank on this machine.
        control: Group on the CPU for objects and barriers; None for a single process.
        is_padding: Whether this rank currently computes a padding row, which is not counted.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    control: dist.ProcessGroup | None = None
    is_padding: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until all ranks have called it, however long that takes."""
        if self.world > 1:
            dist.barrier(group=self.control)

    def broadcast_object(self, value: T, source: int = 0) -> T:
        """Returns the value of one rank on all ranks."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=source, group=self.control)
        return box[0]

    def all_gather(self, value: T) -> list[T]:
        """Returns the values of all ranks, ordered by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.control)
        return values

    def gather_to_main(self, value: T) -> list[T]:
        """Returns the values of all ranks, ordered by rank, on rank 0; other ranks get an empty list."""
        if self.world == 1:
            return [value]
        values: list[Any] | None = [None] * self.world if self.is_main else None
        dist.gather_object(value, values, dst=0, group=self.control)
        return values or []

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor on the CPU over all ranks, on all of them."""
        if self.world == 1:
            return tensor
        summed = tensor.clone()
        dist.all_reduce(summed, group=self.control)
        return summed

    def exchange(self, values: Tensor, counts: Sequence[Sequence[int]]) -> Tensor:
        """Sends rows to the ranks that they belong to.

        Args:
            values: Rows on the CPU: those for rank 0, then those for rank 1, and so on.
            counts: How many rows each rank sends to each rank, ``(world, world)``; equal on all ranks.

        Returns:
            The rows for this rank: those of rank 0, then those of rank 1, and so on.
        """
        if self.world == 1:
            return values
        sent, received = list(counts[self.rank]), [of_rank[self.rank] for of_rank in counts]
        result = values.new_empty(sum(received), *values.shape[1:])
        dist.all_to_all_single(result, values.contiguous(), received, sent, group=self.control)
        return result

    def main_process_first(self, prepare: Callable[[], None]) -> None:
        """Calls a function on rank 0 first, then on one rank per machine, then on all ranks.

        Args:
            prepare: Creates files; does nothing if they exist.
        """
        turns = [True] if self.world == 1 else [self.is_main, self.local_rank == 0, True]
        for is_turn in turns:
            if is_turn:
                prepare()
            self.barrier()

    def all_reduce(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Sums numbers over all ranks in float64."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites tensors, in place, with those of rank 0."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)


_group = ProcessGroup()


def current() -> ProcessGroup:
    """The process group of this process."""
    return _group


def init(*, rank: int, world: int, local_rank: int, address: str, port: int, device: torch.device) -> ProcessGroup:
    """Connects to the other ranks, by NCCL for GPUs and gloo for CPUs.

    Args:
        rank: Rank of this process over all machines.
        world: Number of ranks.
        local_rank: Rank on this machine.
        address: Address of the machine of rank 0.
        port: Port on that machine.
        device: Device of this rank.
    """
    global _group
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"tcp://{address}:{port}",
        rank=rank,
        world_size=world,
        timeout=_TIMEOUT,
    )
    control = dist.new_group(backend="gloo", timeout=_CONTROL_TIMEOUT)
    _group = ProcessGroup(rank, world, local_rank, control)
    return _group


def destroy() -> None:
    """Waits for all ranks and ends the connection; does nothing without ``init``."""
    global _group
    if _group.world > 1:
        _group.barrier()
        _group = ProcessGroup()
        dist.destroy_process_group()

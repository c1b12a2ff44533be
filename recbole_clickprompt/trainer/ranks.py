"""What the processes of one training tell each other; all of it trivial where there is only one."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

__all__ = ["any_of", "first_says", "gather", "rank", "world_size"]


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """How many processes train."""
    return dist.get_world_size() if _several() else 1


def gather(value: Any) -> list[Any]:
    """The value of every process, in the order of their ranks."""
    if not _several():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def first_says(value: Any) -> Any:
    """The value of the process of rank 0."""
    if not _several():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def any_of(flag: bool) -> bool:
    """Whether the flag is up in one of the processes."""
    return any(gather(flag))


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()

"""A rank's share of a batch, and how the shares become one step and one evaluation.

Each rank reads the same batches in the same order and takes every world-th row of each part, so the batch stays
that of one process, whatever the number of ranks. Nothing here happens where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.backbones.batch_norm import batch_norm_over_ranks

__all__ = ["all_reduce_gradients", "broadcast_parameters", "predict", "rank_rng", "shares"]

_BUCKET = 2**23  # numbers that are summed over the ranks at once


def broadcast_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Gives what is trained the values of rank 0, and batch norms the rows of all ranks; frozen weights stay."""
    here = distributed.current()
    if here.world > 1:
        batch_norm_over_ranks(model)
        here.broadcast([p for group in optimizer.param_groups for p in group["params"]])


def shares(model: Any, parts: Iterable[tuple[Any, float]]) -> Iterator[tuple[Any, float]]:
    """This rank's rows of the parts of a batch; weights of all ranks' shares sum to that of the part.

    A rank that has no row of a part takes one of another's at weight 0, for the sake of layers that all ranks
    compute together; it counts nowhere (``ProcessGroup.is_padding``).

    Args:
        model: Has ``rows`` and ``select``.
        parts: Of ``model.split``, the same on all ranks: what it draws comes from their common random state, and
            rows of equal length stay in order.
    """
    here = distributed.current()
    if here.world == 1:
        yield from parts
        return
    for part, weight in parts:
        own = torch.arange(here.rank, model.rows(part), here.world)
        here.is_padding = not len(own)
        try:
            selected, share = model.select(part, own if len(own) else torch.zeros(1, dtype=torch.long))
            yield selected, 0.0 if here.is_padding else weight * share
        finally:
            here.is_padding = False


@contextmanager
def rank_rng(step: int, device: torch.device) -> Iterator[None]:
    """Gives this rank its own dropout for one step and leaves the random state, equal on all ranks, as it was."""
    here = distributed.current()
    if here.world == 1:
        yield
        return
    entropy = (torch.initial_seed() % 2**64, step, here.rank)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
        yield


def all_reduce_gradients(optimizer: torch.optim.Optimizer, loss: float) -> float:
    """Sums what the ranks computed: the gradients of what is trained, in place, and the loss, which is returned.

    A parameter that no rank has a gradient for keeps none. Of a table that is updated row by row only those rows
    are exchanged that some rank has read.
    """
    here = distributed.current()
    if here.world == 1:
        return loss
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    total, *reached = here.all_reduce([loss, *(p.grad is not None for p in trained)], trained[0].device)
    rowwise = {id(p) for group in optimizer.param_groups if group.get("rowwise") for p in group["params"]}
    present = [p for p, count in zip(trained, reached, strict=True) if count]
    _sum_rows([p for p in present if id(p) in rowwise])
    for bucket in _buckets([p for p in present if id(p) not in rowwise]):
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        for p, summed in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            p.grad = summed.view_as(p)
    return total


def _sum_rows(tables: Sequence[nn.Parameter]) -> None:
    """Sums sparse gradients; all ranks add up the same numbers in the same order, that of the ranks."""
    if not tables:
        return
    own = [_rows_and_values(table) for table in tables]
    counts = torch.tensor([[len(rows) for rows, _ in own]], device=tables[0].device)
    counts = _gather(counts, [1] * distributed.current().world)  # (world, tables)
    for table, (rows, values), sizes in zip(tables, own, counts.T.tolist(), strict=True):
        read, summands = _gather(rows, sizes), _gather(values, sizes)
        table.grad = torch.sparse_coo_tensor(read.unsqueeze(0), summands, table.shape).coalesce()


def _rows_and_values(table: Tensor) -> tuple[Tensor, Tensor]:
    """Of a sparse gradient the R rows that it has, ``(R,)``, and what it has there, ``(R, d)``."""
    if table.grad is None:
        return torch.zeros(0, dtype=torch.long, device=table.device), table.new_zeros(0, *table.shape[1:])
    gradient = table.grad.coalesce()
    return gradient.indices()[0], gradient.values()


def _gather(own: Tensor, sizes: Sequence[int]) -> Tensor:
    """The ranks' tensors, of ``sizes`` rows each and equal beyond them, one after the other."""
    # Equal lengths for the exchange; what fills them up is cut off again
    padded = own.new_zeros(max(sizes), *own.shape[1:])
    padded[: len(own)] = own
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for p in parameters:
        if bucket and (size + p.numel() > _BUCKET or p.dtype is not bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.numel()
    if bucket:
        yield bucket


def predict(model: Any, interaction: Any, device: torch.device) -> Tensor:
    """Scores of all rows in their order, ``(B,)``, each computed by one rank and known to all."""
    here = distributed.current()
    if here.world == 1:
        return model.predict(interaction)
    blocks = model.blocks(interaction, here.world)
    own = [torch.zeros(0, device=device)]
    own += [model.predict(interaction[rows]) for rows in blocks[here.rank :: here.world]]
    sizes = [sum(map(len, blocks[rank :: here.world])) for rank in range(here.world)]
    scores = _gather(torch.cat(own), sizes)
    rows = torch.cat([block for rank in range(here.world) for block in blocks[rank :: here.world]])
    return scores[rows.argsort().to(device)]

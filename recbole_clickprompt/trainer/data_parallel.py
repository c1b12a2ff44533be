"""Sharding of batches over ranks, and the reduction of gradients and predictions.

Each rank reads the same batches in the same order and takes every ``world``-th row of each part, so batches do not
depend on the number of ranks. With a single rank these functions do nothing. Where ranks share the rows of the
data set, each reads its own rows of a batch (``trainer/own_rows.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.backbones.batch_norm import batch_norm_over_ranks
from recbole_clickprompt.embeddings.table import sharded_tables

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

    from recbole_clickprompt.trainer.protocols import CTRModel, Module, Trainable

__all__ = [
    "all_reduce_gradients", "broadcast_parameters", "gather", "own_share", "predict", "predict_own", "rank_rng",
    "shares",
]  # fmt: skip

_BUCKET = 2**23  # elements per all-reduce


def broadcast_parameters(model: Module, optimizer: torch.optim.Optimizer) -> None:
    """Copies the trainable parameters of rank 0 to all ranks, and makes batch norms use the rows of all ranks.

    Frozen parameters are not sent.
    """
    ranks = distributed.current()
    if ranks.world > 1:
        batch_norm_over_ranks(cast(nn.Module, model))
        ranks.broadcast([p for group in optimizer.param_groups for p in group["params"]])


def shares(model: Trainable, parts: Iterable[tuple[Any, float]]) -> Iterator[tuple[Any, float]]:
    """This rank's rows of each part of a batch; the weights of a part over all ranks sum to its weight.

    A rank without rows of a part computes one row of another rank with weight 0, because some layers need all
    ranks to take part; the row is not counted (``ProcessGroup.is_padding``).

    Args:
        model: The model that is trained.
        parts: The result of ``model.split``, equal on all ranks: random numbers come from their common random
            state, and rows of equal length keep their order.
    """
    ranks = distributed.current()
    if ranks.world == 1:
        yield from parts
        return
    for part, weight in parts:
        rows = torch.arange(model.rows(part))[ranks.rank :: ranks.world]
        ranks.is_padding = not len(rows)
        try:
            selected, share = model.select(part, rows if len(rows) else torch.zeros(1, dtype=torch.long))
            yield selected, 0.0 if ranks.is_padding else weight * share
        finally:
            ranks.is_padding = False


def own_share(parts: Iterable[tuple[Any, float]], share: float) -> Iterator[tuple[Any, float]]:
    """Parts of the rows that this rank has of a batch; the weights of all ranks sum to 1.

    Args:
        parts: The result of ``model.split``.
        share: Of the batch; 0 if the parts are a row of padding.
    """
    ranks = distributed.current()
    ranks.is_padding = share == 0
    try:
        for part, weight in parts:
            yield part, weight * share
    finally:
        ranks.is_padding = False


@contextmanager
def rank_rng(step: int, device: torch.device) -> Iterator[None]:
    """Gives this rank a random state of its own for one step, then restores the one that all ranks share."""
    ranks = distributed.current()
    if ranks.world == 1:
        yield
        return
    entropy = (torch.initial_seed() % 2**64, step, ranks.rank)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
        yield


def all_reduce_gradients(optimizer: torch.optim.Optimizer, loss: float) -> float:
    """Sums gradients (in place) and the loss (returned) over all ranks.

    A parameter without gradient on any rank stays without. For tables with row-wise updates, only rows that some
    rank has read are exchanged.
    """
    ranks = distributed.current()
    if ranks.world == 1:
        return loss
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    total, *reached = ranks.all_reduce([loss, *(p.grad is not None for p in trained)], trained[0].device)
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
    """Sums sparse gradients; every rank adds in the order of the ranks, so all get bit-identical sums."""
    if not tables:
        return
    local = [_rows_and_values(table) for table in tables]
    counts = torch.tensor([[len(rows) for rows, _ in local]], device=tables[0].device)
    counts = gather(counts, [1] * distributed.current().world)  # (world, tables)
    for table, (rows, values), sizes in zip(tables, local, counts.T.tolist(), strict=True):
        read, summands = gather(rows, sizes), gather(values, sizes)
        table.grad = torch.sparse_coo_tensor(
            read.unsqueeze(0), summands, table.shape, check_invariants=False
        ).coalesce()


def _rows_and_values(table: Tensor) -> tuple[Tensor, Tensor]:
    """The indices of the R rows in a sparse gradient, ``(R,)``, and their values, ``(R, d)``."""
    if table.grad is None:
        return torch.zeros(0, dtype=torch.long, device=table.device), table.new_zeros(0, *table.shape[1:])
    gradient = table.grad.coalesce()
    return gradient.indices()[0], gradient.values()


def gather(local: Tensor, sizes: Sequence[int]) -> Tensor:
    """Concatenates the tensors of all ranks along the first axis.

    Args:
        local: This rank's tensor.
        sizes: Number of rows on each rank; other axes are equal.
    """
    # all_gather needs equal shapes: pad, and remove the padding afterwards
    padded = local.new_zeros(max(sizes), *local.shape[1:])
    padded[: len(local)] = local
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


def predict(model: CTRModel, interaction: Interaction, device: torch.device) -> Tensor:
    """Scores of all rows in order, ``(B,)``; each row is computed by one rank, and all ranks get the result."""
    ranks = distributed.current()
    if ranks.world == 1:
        return model.predict(interaction)
    blocks = model.blocks(interaction, ranks.world)
    local = [torch.zeros(0, device=device)]
    local += [model.predict(interaction[rows]) for rows in blocks[ranks.rank :: ranks.world]]
    if len(local) - 1 < math.ceil(len(blocks) / ranks.world) and any(sharded_tables(model)):
        model.predict(interaction[:1])  # other ranks wait for the rows of this one
    sizes = [sum(map(len, blocks[rank :: ranks.world])) for rank in range(ranks.world)]
    scores = gather(torch.cat(local), sizes)
    rows = torch.cat([block for rank in range(ranks.world) for block in blocks[rank :: ranks.world]])
    return scores[rows.argsort().to(device)]


def predict_own(
    model: CTRModel, interaction: Interaction, counts: Sequence[int], fields: Iterable[str], device: torch.device
) -> tuple[Interaction, Tensor]:
    """Predicts the rows that each rank has of a batch; all ranks get the result.

    Args:
        model: The model.
        interaction: This rank's rows, or a row of padding.
        counts: How many rows each rank has.
        fields: Columns to return.
        device: Of the model.

    Returns:
        Columns of all rows, and their scores, ``(B,)``.
    """
    own = counts[distributed.current().rank]
    rows = interaction.to(device)
    scores = model.predict(rows)
    columns = {name: gather(rows[name][:own], counts) for name in fields}
    return type(interaction)(columns), gather(scores[:own], counts)

"""An embedding table whose rows several processes hold, or a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.initial_values import Draw, Draws

__all__ = ["MIN_ROWS", "HasModules", "Rows", "ShardedTable", "TrainedRows", "replace_tables", "sharded_tables"]

# Smaller tables, such as those of genres, stay complete in every process
MIN_ROWS = 100


class Rows:
    """Where the rows of a table are."""

    def look_up(self, ids: Tensor) -> Tensor:
        """Embeddings of ids, ``(ids,)`` to ``(ids, d)``; all processes call it, each with ids of its own."""
        raise NotImplementedError


class TrainedRows(Rows):
    """Rows that are trained; each process holds a block of them.

    Attributes:
        begin: The first row of this process.
        weight: Its rows, ``(rows, d)``; changes in place change the table.
        sums: What the optimizer accumulated for each of them, ``(rows,)``; as ``weight``.
    """

    begin: int
    weight: Tensor
    sums: Tensor

    def begin_step(self, rate: float) -> None:
        """Called before the first look-up of a step, with its learning rate."""
        raise NotImplementedError

    def update(self) -> None:
        """Updates the rows by the gradients of all look-ups of the step; all processes call it."""
        raise NotImplementedError


class ShardedTable(nn.Module):
    """Takes the place of an ``nn.Embedding``, with the same results, but has no parameters.

    Rows are attached after the model is built: those of a trained run by ``trainer/sharded_tables.py``, and those
    of a finished run by ``files.map_tables``. Weights are neither in ``parameters`` nor in ``state_dict``, so that
    nothing that handles the other weights holds a complete table.

    Args:
        draw: Its initial values.

    Attributes:
        num_embeddings: Rows of the complete table.
        embedding_dim: Width of an embedding, d.
        rows: The rows; None until they are attached.
    """

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw = draw
        self.num_embeddings, self.embedding_dim = draw.shape
        self.rows: Rows | None = None

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of ids of any shape, with d as a further dimension.

        Without rows they are zeros: RecBole counts the operations of a model before it is trained.

        Raises:
            RuntimeError: The table is trained, but has no rows.
        """
        if self.rows is not None:
            return self.rows.look_up(ids.flatten()).view(*ids.shape, self.embedding_dim)
        if self.training:
            raise RuntimeError("the rows of a sharded table are not attached")
        return torch.zeros(*ids.shape, self.embedding_dim, device=ids.device)

    def extra_repr(self) -> str:
        """As for ``nn.Embedding``."""
        return f"{self.num_embeddings}, {self.embedding_dim}"

    @property
    def local(self) -> TrainedRows:
        """The rows of this process, in training."""
        assert isinstance(self.rows, TrainedRows)
        return self.rows

    @torch.no_grad()
    def draw_rows(self) -> None:
        """Sets the rows of this process to their initial values."""
        local = self.local
        for first, values in self.draw.rows(local.begin, local.begin + len(local.weight)):
            local.weight[first - local.begin :][: len(values)] = values
        local.sums.zero_()

    @torch.no_grad()
    def set_rows(self, ids: Tensor, values: Tensor) -> None:
        """Sets rows.

        Args:
            ids: Their numbers, ``(ids,)``; equal on all processes.
            values: ``(ids, d)``.
        """
        local = self.local
        mine = (ids >= local.begin) & (ids < local.begin + len(local.weight))
        local.weight[ids[mine].to(local.weight.device) - local.begin] = values[mine].to(local.weight)

    @torch.no_grad()
    def std(self) -> float:
        """The standard deviation of all weights; all processes call it."""
        weight, count = self.local.weight, self.num_embeddings * self.embedding_dim
        sums = [float(weight.sum(dtype=torch.float64)), float(weight.double().square().sum())]
        total, squares = distributed.current().all_reduce(sums, weight.device)
        return math.sqrt((squares - total**2 / count) / (count - 1))

    @torch.no_grad()
    def set_zero(self, rows: Tensor) -> None:
        """Sets rows to zero.

        Args:
            rows: True at these rows, ``(num_embeddings,)``; equal on all processes.
        """
        local = self.local
        mask = rows[local.begin : local.begin + len(local.weight)]
        local.weight[mask.to(local.weight.device)] = 0.0


def replace_tables(model: nn.Module, draws: Draws) -> None:
    """Replaces the embedding tables of a model that was built in ``recorded_draws``.

    Tables with fewer than ``MIN_ROWS`` rows become complete ones with their initial values.
    """
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.Embedding) and module.weight.is_meta:
                setattr(parent, name, _replacement(module, draws.of(module.weight)))


def _replacement(table: nn.Embedding, draw: Draw) -> nn.Module:
    if table.num_embeddings >= MIN_ROWS:
        return ShardedTable(draw)
    (_, values), *_ = draw.rows(0, table.num_embeddings)
    return nn.Embedding.from_pretrained(values, freeze=False)


class HasModules(Protocol):
    """The part of ``nn.Module`` by which tables are found."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...


def sharded_tables(model: HasModules) -> Iterator[tuple[str, ShardedTable]]:
    """The sharded tables of a model by name, in the order of the model."""
    for name, module in model.named_modules():
        if isinstance(module, ShardedTable):
            yield name, module

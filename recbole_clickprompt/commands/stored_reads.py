"""Which stored numbers a model reads when it scores: parameters in use, and rows that exist for each item."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recbole_clickprompt.text.states import StateTable

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["StoredReads", "item_bytes", "read_parameters"]

_COMPARED = 6  # items, or a few more
# The table and the row numbers among the arguments of an operation
_LOOKUPS: dict[Any, Callable[..., tuple[Tensor, Any]]] = {
    torch.ops.aten.embedding.default: lambda table, rows, *_: (table, rows),
    torch.ops.aten.index_select.default: lambda table, dim, rows: (table, rows if dim == 0 else None),
    torch.ops.aten.index.Tensor: lambda table, rows: (table, rows[0]),
}


class StoredReads(TorchDispatchMode):
    """Records the parameters and buffers of a model that the operations within this context read.

    A parameter counts as read as a whole. Tensors are recognized by their storage, so views and tied weights are
    the parameter that they show.

    Args:
        model: Its tensors must not be replaced within the context.

    Attributes:
        read: Addresses of the storages that were read.
        rows: By address, the rows that were looked up by number.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        tensors = (*model.parameters(), *model.buffers())
        self.stored = {_address(tensor): tensor for tensor in tensors if tensor.numel()}
        self.read: set[int] = set()
        self.rows: dict[int, set[int]] = defaultdict(set)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Records an operation, and executes it."""
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor) and _address(value) in self.stored:
                self.read.add(_address(value))
        if func in _LOOKUPS:
            table, rows = _LOOKUPS[func](*args)
            stored = self.stored.get(_address(table))
            if stored is not None and len(table) == len(stored) and _are_rows(rows):
                self.rows[_address(table)].update(rows.flatten().tolist())
        return func(*args, **(kwargs or {}))

    def count(self, model: nn.Module) -> int:
        """Number of the parameters of the model that were read."""
        return sum(weight.numel() for weight in model.parameters() if _address(weight) in self.read)


def _are_rows(value: object) -> TypeGuard[Tensor]:
    """Whether an index is numbers of rows, not a mask."""
    return isinstance(value, Tensor) and not value.is_floating_point() and value.dtype is not torch.bool


def read_parameters(model: nn.Module, score: Callable[[], object]) -> int:
    """Number of the model's parameters that a function reads."""
    with torch.inference_mode(), StoredReads(model) as reads:
        score()
    return reads.count(model)


def item_bytes(
    model: nn.Module, row: Interaction, score: Callable[[Interaction], object], *, field: str, items: Sequence[int]
) -> int:
    """Bytes that a model stores for each item and reads when it scores the item.

    Of two items i and j in an otherwise equal row, a table with a row per item is read in row i + c and in row
    j + c alone, c the same for several pairs: an embedding of the id, a vector of the item's text, its codes.
    Other pairs may share rows. To that is added the mean size of the states of an item's text, if the model reads
    states.

    Args:
        model: In evaluation mode.
        row: One row.
        score: Scores rows.
        field: Column of the items' ids.
        items: Ids of which some are compared, such as those of the training rows.
    """

    def rows_of(item: int) -> StoredReads:
        batch = type(row)({**row.interaction, field: torch.full_like(row[field], item)})
        with torch.inference_mode(), StoredReads(model) as reads:
            score(batch)
        return reads

    # An item of the row's history would be read in any case
    taken = {number for column in row.interaction.values() for number in column.flatten().tolist()}
    free = [item for item in items if item not in taken]
    reads = {item: rows_of(item) for item in free[:: max(1, len(free) // _COMPARED)]}
    size = _state_bytes(model, field)
    for address, table in StoredReads(model).stored.items():
        shifts = [
            shift
            for i, j in itertools.pairwise(reads)
            if (shift := _shift(reads[i].rows[address], reads[j].rows[address], i, j)) is not None
        ]
        if len(shifts) > 1 and len(set(shifts)) == 1:
            size += _row_bytes(table)
    return size


def _shift(one: set[int], other: set[int], i: int, j: int) -> int | None:
    """c where row i + c is read for i alone and row j + c for j alone; None if other rows differ, or none."""
    mine, theirs = one - other, other - one
    if len(mine) != 1 or len(theirs) != 1:
        return None
    (mine_row,), (their_row,) = mine, theirs
    return mine_row - i if mine_row - i == their_row - j else None


def _row_bytes(table: Tensor) -> int:
    return table[:1].numel() * table.element_size()


def _state_bytes(model: nn.Module, field: str) -> int:
    """Mean bytes of the states of an item's text."""
    table = getattr(model, "text", None)
    if not isinstance(table, StateTable):
        return 0
    offsets = [table.get_buffer(f"offsets_{index}") for index, key in enumerate(table.keys) if key == field]
    lines = sum(float(part[-1] - part[1]) / (len(part) - 2) for part in offsets)  # without those of padding
    return round(lines * _row_bytes(table.states))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()

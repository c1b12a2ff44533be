"""Initial values of tables that are too large for one process: drawn as for a complete table, kept in part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Draw", "Draws", "recorded_draws"]

# torch draws normal numbers 16 at a time, so parts of a multiple of 16 numbers are those of one large draw
_LANES = 16
_BLOCK = 1 << 20  # numbers that are drawn at once


@dataclass(frozen=True)
class Draw:
    """Random numbers of a table, which can be drawn again in any process.

    Attributes:
        shape: ``(rows, d)``.
        method: ``normal_`` or ``uniform_``.
        arguments: Mean and standard deviation, or the limits.
        state: The state of torch's generator before the numbers were drawn.
    """

    shape: tuple[int, int]
    method: str
    arguments: tuple[float, float]
    state: Tensor

    def rows(self, begin: int, end: int) -> Iterator[tuple[int, Tensor]]:
        """Draws the numbers of some rows again, from the first row of the table on.

        Args:
            begin: The first row.
            end: The row after the last.

        Yields:
            The number of a row and the values from there on, in blocks of at most 8 MB, ``(rows, d)``.
        """
        generator = torch.Generator()
        generator.set_state(self.state)
        for first, block in self._blocks(generator):
            if first >= end:
                return
            low, high = max(begin, first), min(end, first + len(block))
            if low < high:
                yield low, block[low - first : high - first]

    def skip(self) -> None:
        """Advances torch's generator as drawing the table does."""
        for _ in self._blocks(torch.default_generator):
            pass

    def _blocks(self, generator: torch.Generator) -> Iterator[tuple[int, Tensor]]:
        rows, width = self.shape
        size = max(_LANES, _BLOCK // width // _LANES * _LANES)
        begins = list(range(0, rows, size))
        if len(begins) > 1 and (rows - begins[-1]) * width < _LANES:  # torch draws fewer numbers one by one
            begins.pop()
        for first, end in zip(begins, [*begins[1:], rows], strict=True):
            block = torch.empty(end - first, width)
            getattr(block, self.method)(*self.arguments, generator=generator)
            yield first, block


class Draws(TorchDispatchMode):
    """Records how tables on the meta device, which has no memory, are initialized, and advances the generator."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[tuple[torch.UntypedStorage, Draw]] = []

    def of(self, weight: Tensor) -> Draw:
        """The last draw of a table.

        Raises:
            NotImplementedError: It is not initialized with normal or uniform numbers.
        """
        storage = weight.untyped_storage()
        for other, draw in reversed(self._found):
            if other._cdata == storage._cdata:
                return draw
        raise NotImplementedError("an embedding table without random initial values cannot be sharded")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        table = args[0] if args else None
        if not (isinstance(table, Tensor) and table.is_meta and func._schema.is_mutable):
            return func(*args, **kwargs)
        method = func._schema.name.removeprefix("aten::")
        if method not in ("normal_", "uniform_") or kwargs.pop("generator", None) is not None or table.ndim != 2:
            raise NotImplementedError(f"{method} of an embedding table that is sharded")
        rows, width = table.shape
        defaults = (0.0, 1.0)  # of both methods
        arguments = (*args[1:], *defaults[len(args) - 1 :])
        draw = Draw((rows, width), method, arguments, torch.get_rng_state())
        draw.skip()
        self._found.append((table.untyped_storage(), draw))
        return table


@contextmanager
def recorded_draws() -> Iterator[Draws]:
    """A context in which every ``nn.Embedding`` is created without memory, and its initial values are recorded.

    All other random numbers are those of a model with complete tables.
    """
    create = nn.Embedding.__init__

    def on_meta(self: nn.Embedding, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **{**kwargs, "device": "meta"})

    with patch.object(nn.Embedding, "__init__", on_meta), Draws() as draws:
        yield draws

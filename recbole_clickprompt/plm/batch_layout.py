"""How the states of a batch's texts lie in memory: row by row with their padding, or packed with little of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Packed", "Padded", "Rows", "lay_out"]

_ROWS = 16  # of a part, at least: each layer attends within one part at a time
_PARTS = 8  # of a batch, at most
_WORTH = 0.97  # packed states are so many of the padded ones, or fewer


class Rows(Protocol):
    """A layout of the states of B texts of up to Z tokens.

    States that lie in it are ``(A, N, W)``, whatever A and N. What is done to each state alone is done to them as
    they lie, and attention to the parts, in each of which B' rows have Z' tokens.

    Attributes:
        places: Where in its text each state is, ``(1, N)``.
        columns: The same in each part, ``(1, Z')``.
        seen: False at the padding of each part, ``(B', Z')``.
    """

    places: Tensor
    columns: Sequence[Tensor]
    seen: Sequence[Tensor]

    def sort(self, of_rows: Tensor) -> Tensor:
        """``(B, ...)`` in the order of the layout."""
        ...

    def unsort(self, of_rows: Tensor) -> Tensor:
        """``(B, ...)`` in the order that they came in."""
        ...

    def lay(self, padded: Tensor) -> Tensor:
        """States ``(B, Z, W)``, which are sorted, as they lie."""
        ...

    def pad(self, states: Tensor) -> Tensor:
        """Back again; what is in the padding is finite, and no more."""
        ...

    def at(self, states: Tensor, positions: Tensor) -> Tensor:
        """States of each row at its positions, ``(B, P)``: ``(B, P, W)``."""
        ...

    def parts(self, states: Tensor) -> Sequence[Tensor]:
        """Each part's, ``(B', Z', W)``."""
        ...

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """From parts to states as they lie."""
        ...

    def of_parts(self, of_rows: Tensor) -> Sequence[Tensor]:
        """Each part's rows, ``(B', ...)``, of ``(B, ...)``."""
        ...


class Padded:
    """One part, in which each row is as long as the longest.

    Args:
        lengths: Tokens of each row, ``(B,)``.
        longest: Z.
    """

    def __init__(self, lengths: Tensor, longest: int) -> None:
        self.places = torch.arange(longest, device=lengths.device).unsqueeze(0)
        self.columns: Sequence[Tensor] = [self.places]
        self.seen: Sequence[Tensor] = [self.places < lengths.unsqueeze(1)]

    def sort(self, of_rows: Tensor) -> Tensor:
        return of_rows

    def unsort(self, of_rows: Tensor) -> Tensor:
        return of_rows

    def lay(self, padded: Tensor) -> Tensor:
        return padded

    def pad(self, states: Tensor) -> Tensor:
        return states

    def at(self, states: Tensor, positions: Tensor) -> Tensor:
        return _at(states, positions)

    def parts(self, states: Tensor) -> Sequence[Tensor]:
        return [states]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        (whole,) = parts
        return whole

    def of_parts(self, of_rows: Tensor) -> Sequence[Tensor]:
        return [of_rows]


class Packed:
    """Rows sorted by length, in parts of a few that are as long as the longest of these, one behind the other.

    Args:
        lengths: Tokens of each row, ``(B,)``.
        longest: Z.
    """

    def __init__(self, lengths: Tensor, longest: int) -> None:
        given = lengths.tolist()
        order = sorted(range(len(given)), key=given.__getitem__)
        self.order = None if given == sorted(given) else torch.tensor(order, device=lengths.device)
        self.longest, self.rows = longest, max(_ROWS, -(-len(given) // _PARTS))
        of_parts = self.sort(lengths).split(self.rows)
        self.shapes = [(len(of_part), int(of_part[-1])) for of_part in of_parts]
        self.columns: Sequence[Tensor] = [
            torch.arange(length, device=lengths.device).unsqueeze(0) for _, length in self.shapes
        ]
        self.seen: Sequence[Tensor] = [
            column < of_part.unsqueeze(1) for column, of_part in zip(self.columns, of_parts, strict=True)
        ]
        of_rows = zip(self.columns, self.shapes, strict=True)
        self.places = torch.cat([column.repeat(1, rows) for column, (rows, _) in of_rows], dim=1)

    def sort(self, of_rows: Tensor) -> Tensor:
        return of_rows if self.order is None else of_rows[self.order]

    def unsort(self, of_rows: Tensor) -> Tensor:
        return of_rows if self.order is None else of_rows[self.order.argsort()]

    def lay(self, padded: Tensor) -> Tensor:
        parts = zip(self.of_parts(padded), self.shapes, strict=True)
        return self.join([part[:, :length] for part, (_, length) in parts])

    def pad(self, states: Tensor) -> Tensor:
        return torch.cat([F.pad(part, (0, 0, 0, self.longest - part.shape[1])) for part in self.parts(states)])

    def at(self, states: Tensor, positions: Tensor) -> Tensor:
        parts = zip(self.parts(states), self.of_parts(positions), strict=True)
        # Slots that ask nothing may point behind the end
        return torch.cat([_at(part, asked.clamp(max=part.shape[1] - 1)) for part, asked in parts])

    def parts(self, states: Tensor) -> Sequence[Tensor]:
        split = states.squeeze(0).split([rows * length for rows, length in self.shapes])
        return [part.unflatten(0, shape) for part, shape in zip(split, self.shapes, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.flatten(0, 1) for part in parts]).unsqueeze(0)

    def of_parts(self, of_rows: Tensor) -> Sequence[Tensor]:
        return of_rows.split(self.rows)


def _at(states: Tensor, positions: Tensor) -> Tensor:
    return states.gather(1, positions.unsqueeze(2).expand(-1, -1, states.shape[2]))


def lay_out(lengths: Tensor, longest: int) -> Rows:
    """The layout for texts of these lengths, ``(B,)``, of up to Z tokens.

    Packed texts spare a CPU what it would compute of padding. On a GPU attention to parts would cost kernels to
    start, which is not measured; and a model that is traced must not look at lengths.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if lengths.device.type != "cpu" or traced or not int(lengths.min()):
        return Padded(lengths, longest)
    packed = Packed(lengths, longest)
    spared = packed.places.shape[1] <= _WORTH * len(lengths) * longest
    return packed if spared else Padded(lengths, longest)

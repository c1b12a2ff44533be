"""Lists of different lengths in one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Ragged"]


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths; row i is ``values[offsets[i]:offsets[i + 1]]``::

        values   | row 0 ......... | row 1 .... | row 2 ....... |
        offsets  0                 3            5               9

    Attributes:
        values: ``(sum of lengths,)``.
        offsets: ``(rows + 1,)`` int64, from 0.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """From a list of lists of integers."""
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        values = np.fromiter((v for row in rows for v in row), dtype=np.int32, count=int(lengths.sum()))
        return cls(values, _offsets(lengths))

    @classmethod
    def stacked(cls, parts: Sequence[Ragged]) -> Ragged:
        """All rows of ``parts``, one after the other."""
        values = [np.empty(0, np.int32), *(part.values for part in parts)]
        lengths = [np.empty(0, np.int64), *(part.lengths for part in parts)]
        return cls(np.concatenate(values), _offsets(np.concatenate(lengths)))

    @property
    def lengths(self) -> np.ndarray:
        """``(rows,)``."""
        return np.diff(self.offsets)

    @staticmethod
    def join(columns: Sequence[tuple[Ragged, np.ndarray]]) -> Ragged:
        """Row i is row ``codes[i]`` of the first column, then of the second, and so on; code -1 adds nothing.

        Args:
            columns: Ragged arrays, each with its ``codes``, ``(rows,)``.
        """
        present = [codes >= 0 for _, codes in columns]
        lengths = np.stack(
            [
                np.where(has_row, ragged.lengths[codes], 0)
                if len(ragged.lengths)
                else np.zeros(len(codes), np.int64)
                for (ragged, codes), has_row in zip(columns, present, strict=True)
            ],
            axis=1,
        )
        offsets = _offsets(lengths.sum(axis=1))
        values = np.empty(offsets[-1], dtype=np.int32)
        starts = offsets[:-1].copy()
        for (ragged, codes), has_row, length in zip(columns, present, lengths.T, strict=True):
            rows = np.flatnonzero(has_row)
            count = length[rows]
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            source = np.repeat(ragged.offsets[codes[rows]], count) + within
            values[np.repeat(starts[rows], count) + within] = ragged.values[source]
            starts += length
        return Ragged(values, offsets)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])

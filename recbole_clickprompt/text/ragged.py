"""Rows of different lengths stored in one array."""

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
        values: All rows one after the other, ``(sum of lengths,)``.
        offsets: Where each row begins, and the end of the last one, ``(rows + 1,)`` int64, starting at 0.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Builds the array from lists of integers; values are int32."""
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        values = np.fromiter((v for row in rows for v in row), dtype=np.int32, count=int(lengths.sum()))
        return cls(values, _offsets(lengths))

    @classmethod
    def stacked(cls, parts: Sequence[Ragged]) -> Ragged:
        """All rows of ``parts``, one part after the other; values are int32."""
        values = [np.empty(0, np.int32), *(part.values for part in parts)]
        lengths = [np.empty(0, np.int64), *(part.lengths for part in parts)]
        return cls(np.concatenate(values), _offsets(np.concatenate(lengths)))

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row, ``(rows,)`` int64."""
        return np.diff(self.offsets)

    @staticmethod
    def join(columns: Sequence[tuple[Ragged, np.ndarray]]) -> Ragged:
        """Concatenates selected rows of several arrays side by side.

        Row i of the result is row ``codes[i]`` of the first array, then of the second one, and so on; code -1 adds
        nothing::

            first array   | a a | b |          codes 1  0          result  | b c c | a a |
            second array  | c c |              codes 0 -1

        Args:
            columns: Arrays, each with its ``codes``, ``(rows,)`` int64.

        Returns:
            An array with ``rows`` rows; values are int32.
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
    """Offsets, ``(rows + 1,)`` int64, of rows with these lengths, ``(rows,)``."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])

"""Counts distinct values of any number of rows in bounded memory: sorted hashes on disk, merged in parts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

__all__ = ["DistinctValues", "FlagCounts", "combine_hashes", "hash_columns"]

_SEED = 0x5DEECE66D
_BUCKETS = 1024  # equal ranges of hashes; consecutive ones are merged together
_MERGED = 1 << 18  # hashes merged in memory at once
_FLAG_SHIFT = 56  # a row number and eight flags share 64 bits
_ROW = (1 << _FLAG_SHIFT) - 1
_BOUNDS = np.arange(1, _BUCKETS, dtype=np.uint64) << np.uint64(64 - _BUCKETS.bit_length() + 1)


def hash_columns(*columns: pl.Series) -> np.ndarray:
    """One 64-bit hash per row over all ``columns``, ``(rows,)`` uint64.

    Equal rows have equal hashes. Two different rows among n share one with a probability of about n² / 2^65: one
    in half a million for ten million rows.
    """
    return combine_hashes(*(column.hash(_SEED).to_numpy() for column in columns))


def combine_hashes(*hashes: np.ndarray) -> np.ndarray:
    """One hash per row of several, each ``(rows,)`` uint64, in their order."""
    total = np.zeros_like(hashes[0])
    for column in hashes:
        total = total * np.uint64(0x9E3779B97F4A7C15) + column
        total ^= total >> np.uint64(32)
        total *= np.uint64(0xD6E8FEB86659FD93)
        total ^= total >> np.uint64(32)
    return total


class FlagCounts(NamedTuple):
    """Distinct values, and for each of eight flags those that have it.

    Attributes:
        values: Number of distinct values.
        flagged: ``(8,)``, the number of distinct values with each flag.
        first_rows: ``(8,)``, the first row with each flag; -1 where no value has it.
    """

    values: int
    flagged: np.ndarray
    first_rows: np.ndarray


class DistinctValues:
    """Hashes of rows, of which each distinct one counts once.

    Every batch is written to a temporary file as one sorted run, with an index of its buckets. A result reads the
    same buckets of all runs, about a million hashes at a time.

    Args:
        folder: Where the temporary file is made; it has no name and vanishes with this object.
        with_rows: Whether the first row of each value is stored as well, for ``first_rows`` and ``flag_counts``.
    """

    def __init__(self, folder: Path, *, with_rows: bool = False) -> None:
        self._with_rows = with_rows
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by ``close``
        self._runs: list[tuple[int, int]] = []  # offset in the file, number of hashes
        self._totals = np.zeros(_BUCKETS, np.int64)
        self._rows = 0

    def add(self, hashes: np.ndarray, flags: np.ndarray | None = None) -> None:
        """Adds the next rows.

        Args:
            hashes: ``(rows,)`` uint64, see ``hash_columns``.
            flags: ``(rows,)`` uint8; equal values have equal flags.
        """
        number, hashes_first = len(hashes), None
        if self._with_rows:
            hashes, hashes_first = np.unique(hashes, return_index=True)
        else:
            hashes = np.unique(hashes)
        ends = np.append(np.searchsorted(hashes, _BOUNDS), len(hashes)).astype(np.uint32)
        self._runs.append((self._file.seek(0, 2), len(hashes)))
        self._totals += np.diff(ends.astype(np.int64), prepend=0)
        self._file.write(ends.tobytes() + hashes.tobytes())
        if hashes_first is not None:
            rows = hashes_first.astype(np.int64) + self._rows
            if flags is not None:
                rows |= flags[hashes_first].astype(np.int64) << _FLAG_SHIFT
            self._file.write(rows.tobytes())
        self._rows += number

    def count(self) -> int:
        """Number of distinct values."""
        return sum(len(np.unique(hashes)) for hashes, _ in self._parts())

    def first_rows(self) -> np.ndarray:
        """The first row of each distinct value, ascending, ``(values,)`` int64; 8 bytes per value."""
        found = [rows[np.unique(hashes, return_index=True)[1]] for hashes, rows in self._parts()]
        rows = np.concatenate([np.empty(0, np.int64), *found]) & _ROW
        return np.sort(rows)

    def flag_counts(self) -> FlagCounts:
        """Number and first row of the distinct values with each flag; fewer than 2^56 rows."""
        values, flagged, first = 0, np.zeros(8, np.int64), np.full(8, np.iinfo(np.int64).max)
        for hashes, packed in self._parts():
            packed = packed[np.unique(hashes, return_index=True)[1]]
            flags, rows = packed >> _FLAG_SHIFT, packed & _ROW
            values += len(packed)
            for flag in range(8):
                has_flag = (flags >> flag) & 1 == 1
                flagged[flag] += int(has_flag.sum())
                first[flag] = min(first[flag], rows[has_flag].min(initial=first[flag]))
        return FlagCounts(values, flagged, np.where(flagged > 0, first, -1))

    def close(self) -> None:
        """Removes the temporary file."""
        self._file.close()

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Hashes of a few buckets from all runs, in the order of the rows, and their rows (empty without)."""
        start = 0
        while start < _BUCKETS:
            end = start + 1
            while end < _BUCKETS and self._totals[start : end + 1].sum() <= _MERGED:
                end += 1
            if self._totals[start:end].sum():
                yield self._read(start, end)
            start = end

    def _read(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        hashes, rows = [], []
        for offset, length in self._runs:
            ends = self._array(offset, _BUCKETS, np.uint32)
            first, last = int(ends[start - 1]) if start else 0, int(ends[end - 1])
            base = offset + ends.nbytes
            hashes.append(self._array(base + 8 * first, last - first, np.uint64))
            if self._with_rows:
                rows.append(self._array(base + 8 * (length + first), last - first, np.int64))
        return np.concatenate(hashes), np.concatenate(rows) if rows else np.empty(0, np.int64)

    def _array(self, offset: int, length: int, dtype: type[np.generic]) -> np.ndarray:
        self._file.seek(offset)
        return np.frombuffer(self._file.read(length * np.dtype(dtype).itemsize), dtype)

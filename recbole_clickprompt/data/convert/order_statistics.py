"""Quantiles of any number of values in bounded memory: the values are on disk and are read digit by digit."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["StoredNumbers"]

_CHUNK = 1 << 17  # numbers read at once
_BITS = 16  # of a digit
_SIGN = np.uint64(1 << 63)


class StoredNumbers:
    """Numbers in a temporary file without a name.

    Args:
        folder: Where the file is made.

    Attributes:
        count: How many numbers were added.
        low: The smallest of them; infinity where there is none.
        high: The largest of them.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by ``close``
        self.count, self.low, self.high = 0, math.inf, -math.inf

    def add(self, numbers: np.ndarray) -> None:
        """Adds finite numbers, ``(n,)`` float64."""
        if not len(numbers):
            return
        self._file.write(np.ascontiguousarray(numbers, np.float64).tobytes())
        self.count += len(numbers)
        self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))

    def quantile(self, part: float) -> float:
        """The number at ``part`` of the sorted ones, the nearest without interpolation, as polars gives it.

        The bits of a float, with those of negative ones turned around, sort as the numbers do. Each pass counts
        one digit of 16 bits, of the numbers that begin with the digits known so far.
        """
        position, prefix = math.floor(part * (self.count - 1) + 0.5), 0
        for shift in range(64 - _BITS, -1, -_BITS):
            counts = np.zeros(1 << _BITS, np.int64)
            for keys in self._keys():
                if shift < 64 - _BITS:
                    keys = keys[keys >> np.uint64(shift + _BITS) == np.uint64(prefix)]
                digits = (keys >> np.uint64(shift)) & np.uint64((1 << _BITS) - 1)
                counts += np.bincount(digits.astype(np.int64), minlength=1 << _BITS)
            ends = np.cumsum(counts)
            digit = int(np.searchsorted(ends, position, side="right"))
            position -= int(ends[digit] - counts[digit])
            prefix = (prefix << _BITS) | digit
        key = np.array([prefix], np.uint64)
        return float(np.where(key & _SIGN, key ^ _SIGN, ~key).view(np.float64)[0])

    def close(self) -> None:
        """Removes the file."""
        self._file.close()

    def _keys(self) -> Iterator[np.ndarray]:
        self._file.seek(0)
        while content := self._file.read(8 * _CHUNK):
            bits = np.frombuffer(content, np.uint64)
            yield np.where(bits & _SIGN, ~bits, bits | _SIGN)

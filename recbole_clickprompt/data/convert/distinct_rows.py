"""Keeps the distinct values of columns of a table that is read batch by batch."""

from __future__ import annotations

import numpy as np
import polars as pl

__all__ = ["DistinctRows"]

_MERGED_FROM = 1 << 20  # rows


class DistinctRows:
    """The first row with each value of a column, of a table that is read batch by batch.

    Args:
        columns: The columns to keep; the first one is the key.
    """

    def __init__(self, *columns: str) -> None:
        self._columns = columns
        self._parts: list[pl.DataFrame] = []
        self._merged = self._pending = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Adds a batch."""
        part = frame.select(self._columns).unique(self._columns[0], keep="first", maintain_order=True)
        self._parts.append(part)
        self._pending += len(part)
        if self._pending > max(_MERGED_FROM, self._merged):
            self.rows()

    def rows(self) -> pl.DataFrame:
        """The rows in the order of their first appearance."""
        merged = pl.concat(self._parts).unique(self._columns[0], keep="first", maintain_order=True)
        self._parts, self._merged, self._pending = [merged], len(merged), 0
        return merged

    def numbers(self) -> np.ndarray:
        """The distinct values of the key, ascending."""
        return self.rows()[self._columns[0]].sort().to_numpy()

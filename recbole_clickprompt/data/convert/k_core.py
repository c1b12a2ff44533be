"""Filters more interactions than fit in memory: ids become codes, rows are on disk and are counted in passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

__all__ = ["IdCodes", "Interactions", "k_core"]

_CHUNK = 1 << 22  # rows processed at once
_DTYPES = {"user": np.int32, "item": np.int32, "rating": np.float32, "time": np.int64}


class IdCodes:
    """Assigns numbers to texts in the order of their first appearance."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def encode(self, texts: pl.Series) -> np.ndarray:
        """The number of each text, ``(rows,)`` int32; new texts get the next ones."""
        encoded = texts.to_arrow().dictionary_encode()
        codes = self._codes
        numbers = [codes.setdefault(text, len(codes)) for text in encoded.dictionary.to_pylist()]
        return np.asarray(numbers, dtype=np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]

    def find(self, texts: pl.Series) -> np.ndarray:
        """Like ``encode``, but new texts get -1 and are not added."""
        return np.fromiter((self._codes.get(text, -1) for text in texts), dtype=np.int32, count=len(texts))

    def texts(self) -> pl.Series:
        """All texts, ordered by number."""
        return pl.Series("id", list(self._codes), dtype=pl.String)


class Interactions:
    """Rows of user, item, rating and time in files.

    Args:
        folder: An empty folder that the caller removes.
    """

    def __init__(self, folder: Path) -> None:
        self.users, self.items = IdCodes(), IdCodes()
        self.rows = 0
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {name: (folder / name).open("wb") for name in _DTYPES}

    def append(self, users: pl.Series, items: pl.Series, ratings: pl.Series, times: pl.Series) -> None:
        """Adds rows; no value may be missing."""
        columns = {
            "user": self.users.encode(users),
            "item": self.items.encode(items),
            "rating": ratings.to_numpy(),
            "time": times.to_numpy(),
        }
        for name, values in columns.items():
            np.ascontiguousarray(values, dtype=_DTYPES[name]).tofile(self._files[name])
        self.rows += len(users)

    def columns(self) -> dict[str, np.ndarray]:
        """All rows, memory-mapped; nothing can be appended afterwards."""
        for stream in self._files.values():
            stream.close()
        if not self.rows:
            return {name: np.empty(0, dtype) for name, dtype in _DTYPES.items()}
        return {name: np.memmap(self._folder / name, dtype, mode="r") for name, dtype in _DTYPES.items()}


def k_core(users: np.ndarray, items: np.ndarray, *, k: int, num_users: int, num_items: int) -> np.ndarray:
    """The largest set of rows in which every user and every item has at least ``k`` rows.

    Args:
        users: Code of each row's user, ``(rows,)``.
        items: Code of each row's item, ``(rows,)``.
        k: Minimum number of rows of a user or an item.
        num_users: Number of user codes.
        num_items: Number of item codes.

    Returns:
        Row numbers that are kept, ascending, ``(kept,)`` uint32 (up to four billion rows).
    """
    keep = np.ones(len(users), dtype=bool)
    left = len(users)
    while True:
        user_rows, item_rows = np.zeros(num_users, np.int64), np.zeros(num_items, np.int64)
        for part in _chunks(len(users)):
            user_rows += np.bincount(users[part][keep[part]], minlength=num_users)
            item_rows += np.bincount(items[part][keep[part]], minlength=num_items)
        for part in _chunks(len(users)):
            keep[part] &= (user_rows[users[part]] >= k) & (item_rows[items[part]] >= k)
        before, left = left, int(keep.sum())
        if left == before:
            return np.flatnonzero(keep).astype(np.uint32)


def _chunks(rows: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, rows, _CHUNK))

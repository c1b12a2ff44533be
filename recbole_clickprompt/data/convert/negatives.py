"""Samples negatives for tables of clicks only: items that others had clicked, and the user never clicked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from recbole_clickprompt.data.convert.distinct import combine_hashes, hash_columns

__all__ = ["NegativeSampler"]

_DRAWS = 32  # of one negative, before all items are tried
_CLICKS = 1 << 12  # to which negatives are added at once
_BITS_PER_CLICK = 64
_MOST_BITS = 1 << 29


class NegativeSampler:
    """Draws negatives for each click, uniformly from the items that any user had clicked up to its time.

    Without times all items are drawn from. An item that the user clicks anywhere in the table is never drawn.
    Draws are determined by the number of the row. Memory grows by about 50 bytes and an id for each item; clicks
    take 64 MB at most.

    Args:
        frames: Reads the clicks, with the columns ``user_id``, ``item_id`` and, with times, ``timestamp``.
        first_items: The first row of each item, ascending.
        rows: Number of clicks.
        number: Negatives for each click.

    Attributes:
        sampled: Number of negatives so far.
        short: Number of clicks so far that have fewer of them, as not enough items could be drawn from.
    """

    def __init__(
        self, frames: Callable[[], Iterator[pl.DataFrame]], first_items: np.ndarray, rows: int, number: int
    ) -> None:
        self.number, self.sampled, self.short, self._rows = number, 0, 0, 0
        items, start = [], 0
        for frame in frames():
            low, high = np.searchsorted(first_items, [start, start + len(frame)])
            items.append(frame["item_id"].gather(first_items[low:high] - start))
            start += len(frame)
        # In polars' own form each text would keep the batch that it was in
        self._items = pa.concat_arrays([ids.to_arrow(compat_level=pl.CompatLevel.oldest()) for ids in items])
        self._hashes = np.concatenate([hash_columns(ids) for ids in items])
        items.clear()
        order = np.argsort(self._hashes).astype(np.int32)
        ordered = self._hashes[order]
        times = np.full(len(order), np.inf)
        self._clicks = _PairFilter(rows)
        for frame in frames():
            items_of_rows = hash_columns(frame["item_id"])
            self._clicks.add(combine_hashes(hash_columns(frame["user_id"]), items_of_rows))
            np.minimum.at(times, order[np.searchsorted(ordered, items_of_rows)], _times(frame))
        self._by_time = np.argsort(times, kind="stable").astype(np.int32)
        self._times = times[self._by_time]

    def with_negatives(self, clicks: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The next clicks in the order of the file, with a ``label`` of 1, each followed by its negatives.

        A negative has the values of its click, but another item and a label of 0.
        """
        return map(self._with_negatives, clicks.iter_slices(_CLICKS))

    def _with_negatives(self, clicks: pl.DataFrame) -> pl.DataFrame:
        drawn = self._draw(clicks)
        self._rows += len(clicks)
        rows, slots = np.nonzero(drawn >= 0)
        self.sampled += len(rows)
        self.short += int(((drawn >= 0).sum(axis=1) < self.number).sum())
        negatives = clicks[rows].with_columns(
            pl.Series("item_id", pl.from_arrow(self._items.take(pa.array(drawn[rows, slots])))), label=pl.lit(0.0)
        )
        both = pl.concat([clicks.with_columns(label=pl.lit(1.0)), negatives])
        return both[np.argsort(np.append(np.arange(len(clicks)), rows), kind="stable")]

    def _draw(self, clicks: pl.DataFrame) -> np.ndarray:
        """Items for each click, ``(rows, number)``; -1 where there is none."""
        users = hash_columns(clicks["user_id"])
        known = np.searchsorted(self._times, _times(clicks), side="right")
        rows = np.arange(self._rows, self._rows + len(clicks), dtype=np.uint64)
        drawn = np.full((len(clicks), self.number), -1)
        for slot in range(self.number):
            left = np.arange(len(clicks))
            for attempt in range(_DRAWS):
                chance = _chance(rows[left], slot, attempt)
                items = self._by_time[(chance * known[left]).astype(np.int64)]
                free = ~self._clicks.contains(combine_hashes(users[left], self._hashes[items]))
                free &= (drawn[left] != items[:, None]).all(axis=1)
                drawn[left[free], slot] = items[free]
                left = left[~free]
                if not len(left):
                    break
            for row in left:
                items = self._by_time[: known[row]]
                items = items[~np.isin(items, drawn[row])]
                items = items[~self._clicks.contains(combine_hashes(users[[row]], self._hashes[items]))]
                if len(items):
                    chance = _chance(rows[[row]], slot, _DRAWS)
                    drawn[row, slot] = items[int(chance[0] * len(items))]
        return drawn


class _PairFilter:
    """A set of pairs of user and item in fixed memory, a Bloom filter: it contains every pair that was added.

    It contains few others, one in a thousand up to eight million pairs; they are never drawn.

    Args:
        number: How many pairs will be added.
    """

    def __init__(self, number: int) -> None:
        bits = 1 << 16
        while bits < min(_BITS_PER_CLICK * number, _MOST_BITS):
            bits *= 2
        self._mask = np.uint64(bits - 1)
        self._bytes = np.zeros(bits // 8, np.uint8)

    def add(self, hashes: np.ndarray) -> None:
        """Adds pairs, given by their hashes, ``(n,)`` uint64."""
        for byte, bit in self._places(hashes):
            np.bitwise_or.at(self._bytes, byte, bit)

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Whether pairs are in the set, ``(n,)``."""
        found = np.ones(len(hashes), bool)
        for byte, bit in self._places(hashes):
            found &= (self._bytes[byte] & bit) > 0
        return found

    def _places(self, hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in (hashes, hashes >> np.uint64(32)):
            place = part & self._mask
            yield (place >> np.uint64(3)).astype(np.int64), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8)


def _times(frame: pl.DataFrame) -> np.ndarray:
    """The time of each row, ``(rows,)`` float64; the same for all if there are none."""
    return frame["timestamp"].to_numpy() if "timestamp" in frame.columns else np.zeros(len(frame))


def _chance(rows: np.ndarray, slot: int, attempt: int) -> np.ndarray:
    """A random number from 0 to below 1 for each row, ``(rows,)``, the same in every run."""
    hashes = combine_hashes(rows, np.full_like(rows, slot + 1), np.full_like(rows, attempt + 1))
    return (hashes >> np.uint64(11)) / 2.0**53

"""A bounded cache of vectors in the memory of the process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

__all__ = ["MemoryCache"]


class _Entry(NamedTuple):
    slot: int
    expires: float


class MemoryCache:
    """Keeps the vectors that were used last, in one array.

    ::

        key -> slot, least recently used first:   a -> 1, c -> 0, b -> 2
        array (capacity, A), reserved once:       | c | a | b | free | free |

    Args:
        capacity: Maximum number of vectors; 0 keeps none.
        width: A.
        ttl: Seconds after which a vector is not used anymore; None is never.
        clock: Seconds that never decrease.

    Attributes:
        hits: Vectors found.
        misses: Vectors not found, expired ones included.
        evictions: Vectors removed to make room.
        expired: Vectors removed because of their age.
    """

    def __init__(
        self, capacity: int, width: int, ttl: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capacity, self.hits, self.misses, self.evictions, self.expired = capacity, 0, 0, 0, 0
        # Memory is only occupied where it has been written
        self._vectors = np.empty((capacity, width), dtype=np.float32)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._free = list(range(capacity - 1, -1, -1))
        self._ttl, self._clock, self._lock = float("inf") if ttl is None else ttl, clock, Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, keys: Sequence[str], *, counted: bool = True) -> dict[str, np.ndarray]:
        """The vectors that are here, copies of ``(A,)`` each, by key; not ``counted`` leaves the counters."""
        found = {}
        with self._lock:
            now = self._clock()
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None and entry.expires <= now:
                    self._free.append(self._entries.pop(key).slot)
                    self.expired, entry = self.expired + 1, None
                if entry is not None:
                    self._entries.move_to_end(key)
                    found[key] = self._vectors[entry.slot].copy()
            if counted:
                self.hits += len(found)
                self.misses += len(keys) - len(found)
        return found

    def put(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Adds vectors, ``(A,)`` each, or replaces them; those used longest ago make room."""
        if not self.capacity:
            return
        with self._lock:
            expires = self._clock() + self._ttl
            for key, vector in vectors.items():
                if (entry := self._entries.pop(key, None)) is not None:
                    slot = entry.slot
                elif self._free:
                    slot = self._free.pop()
                else:
                    _, (slot, _) = self._entries.popitem(last=False)
                    self.evictions += 1
                self._vectors[slot] = vector
                self._entries[key] = _Entry(slot, expires)

    def clear(self) -> None:
        """Removes all vectors; the counters stay."""
        with self._lock:
            self._free += [entry.slot for entry in self._entries.values()]
            self._entries.clear()

    def counters(self) -> dict[str, int]:
        """The counters, and the number of vectors."""
        return {
            "vectors": len(self), "capacity": self.capacity, "hits": self.hits, "misses": self.misses,
            "evictions": self.evictions, "expired": self.expired,
        }  # fmt: skip

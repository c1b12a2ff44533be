"""Vectors of texts: from the memory of the process, else from Redis, else computed by the model."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.serving.memory_cache import MemoryCache
from recbole_clickprompt.serving.redis_cache import RedisCache, RedisServer
from recbole_clickprompt.trainer.text_vectors import EncodesTexts

__all__ = ["CacheOptions", "VectorCache"]

_PREFIX = "recbole-cp"
_TEXTS_AT_ONCE = 128


@dataclass(frozen=True)
class CacheOptions:
    """Where vectors of texts are kept.

    Attributes:
        items: Maximum number of vectors of each level in the memory of the process; 0 keeps none, None is the
            default of 100,000.
        ttl: Seconds after which a vector is computed again; None is never.
        redis_url: A Redis server that several processes share; None uses none.

    Raises:
        SettingError: A value is invalid.
    """

    items: int | None = None
    ttl: float | None = None
    redis_url: str | None = None

    def __post_init__(self) -> None:
        if self.items is not None and (type(self.items) is not int or self.items < 0):
            raise SettingError(f"cache_items must be a whole number of 0 or more, got {self.items!r}")
        if self.ttl is not None and not (type(self.ttl) in (int, float) and 0 < self.ttl < float("inf")):
            raise SettingError(f"cache_ttl must be a number of seconds above 0, got {self.ttl!r}")

    @property
    def given(self) -> list[str]:
        """Names of the options that have a value."""
        values = {"cache_items": self.items, "cache_ttl": self.ttl, "redis_url": self.redis_url}
        return [name for name, value in values.items() if value is not None]


class VectorCache:
    """The vectors of the texts of users and items, each computed as rarely as possible.

    ::

        texts ── unique ──> memory ── misses ──> Redis ── misses ──> encode_texts
                               ^                   ^                     │
                               └───────────────────┴───── written back ──┘

    Threads may call it at the same time: one of them computes a vector, and the others wait for it. A key is made
    of hashes of the model's weights and of the text, so a new model never reads vectors of an old one.

    Args:
        model: Encodes texts, in evaluation mode.
        options: Capacity and servers.

    Attributes:
        encoded: Texts that were computed.
        encode_seconds: Time that took.
        waited: Texts that another thread was computing.

    Raises:
        SettingError: The package redis is missing, or the URL is invalid.
    """

    def __init__(self, model: EncodesTexts, options: CacheOptions = CacheOptions()) -> None:
        capacity = 100_000 if options.items is None else options.items
        self._model, self._widths = model, dict(model.vector_widths)
        self._memory = {level: MemoryCache(capacity, width, options.ttl) for level, width in self._widths.items()}
        self._redis: dict[str, RedisCache] = {}
        if options.redis_url is not None:
            server = RedisServer(options.redis_url)
            server.check()
            self._redis = {level: RedisCache(server, width, options.ttl) for level, width in self._widths.items()}
        self._hash = model.vectors_hash()
        self._pending: dict[str, Future[np.ndarray]] = {}
        self._lock = Lock()
        self.encoded, self.encode_seconds, self.waited = 0, 0.0, 0

    @property
    def levels(self) -> list[str]:
        """The levels of texts: ``user``, ``item``."""
        return list(self._widths)

    def key(self, level: str, text: str) -> str:
        """The key of a text's vector; a user and an item of equal text have different vectors."""
        digest = hashlib.sha256(f"{level}:{text}".encode("utf-8", "surrogatepass")).hexdigest()
        return f"{_PREFIX}:{self._hash[:32]}:{digest[:32]}"

    def get(self, level: str, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts, ``(len(texts), A)`` float32.

        Raises:
            DataError: The model gives a vector that is not finite.
        """
        key_of = {text: self.key(level, text) for text in dict.fromkeys(texts)}
        text_of = {key: text for text, key in key_of.items()}
        found = self._memory[level].get(list(text_of))
        if missing := [key for key in text_of if key not in found]:
            found |= self._missing(level, {key: text_of[key] for key in missing})
        if not texts:
            return np.empty((0, self._widths[level]), dtype=np.float32)
        return np.stack([found[key_of[text]] for text in texts])

    def put(self, level: str, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Puts vectors, ``(len(texts), A)``, that are known already into the memory of the process."""
        self._memory[level].put({self.key(level, t): v for t, v in zip(texts, vectors, strict=True)})

    def clear(self) -> None:
        """Empties the memory of the process; Redis stays."""
        for memory in self._memory.values():
            memory.clear()

    def counters(self) -> dict[str, Any]:
        """What was found where, by level, since the start."""
        return {
            "memory": {level: memory.counters() for level, memory in self._memory.items()},
            "redis": {level: store.counters() for level, store in self._redis.items()},
            "encoded": self.encoded,
            "encode_ms": round(1000 * self.encode_seconds, 3),
            "waited": self.waited,
        }

    def _missing(self, level: str, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Vectors that were not in memory, by key; each is computed by one thread only."""
        mine: dict[str, Future[np.ndarray]] = {}
        others: dict[str, Future[np.ndarray]] = {}
        with self._lock:
            for key in texts:
                if key in self._pending:
                    others[key] = self._pending[key]
                else:
                    mine[key] = self._pending[key] = Future()
            self.waited += len(others)
        try:
            # Another thread may have finished between the look into memory and here
            found = self._memory[level].get(list(mine), counted=False)
            found |= self._fetched(level, {key: texts[key] for key in mine if key not in found})
        except BaseException as error:
            for future in self._taken(mine):
                future.set_exception(error)
            raise
        for key, future in zip(mine, self._taken(mine), strict=True):
            future.set_result(found[key])
        # After the own ones are finished, so that two threads never wait for one another
        return found | {key: future.result() for key, future in others.items()}

    def _taken(self, keys: Iterable[str]) -> list[Future[np.ndarray]]:
        """The pending results of keys, which are not pending from here on."""
        with self._lock:
            return [self._pending.pop(key) for key in keys]

    def _fetched(self, level: str, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Vectors from Redis, else computed, by key; they are written to the stores that lack them."""
        store = self._redis.get(level)
        found = {} if store is None else store.get(list(texts))
        new = self._encoded(level, {key: text for key, text in texts.items() if key not in found})
        if store is not None:
            store.put(new)
        self._memory[level].put(found | new)
        return found | new

    def _encoded(self, level: str, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        started = time.perf_counter()
        vectors: dict[str, np.ndarray] = {}
        for keys in _blocks(sorted(texts, key=lambda key: len(texts[key]))):
            with torch.no_grad():
                encoded = self._model.encode_texts(level, [texts[key] for key in keys])
            array = encoded.detach().float().cpu().numpy()
            assert array.shape == (len(keys), self._widths[level]), array.shape
            if len(bad := np.flatnonzero(~np.isfinite(array).all(axis=1))):
                raise DataError(
                    f"the vector of the {level} text {texts[keys[bad[0]]][:60]!r} is not finite; the model was "
                    "not trained successfully"
                )
            vectors |= dict(zip(keys, array, strict=True))
        with self._lock:
            self.encoded += len(vectors)
            self.encode_seconds += time.perf_counter() - started
        return vectors


def _blocks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _TEXTS_AT_ONCE] for start in range(0, len(keys), _TEXTS_AT_ONCE))

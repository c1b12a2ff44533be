"""Vectors in a Redis server, which several processes share; its failures are misses, never errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.serving.vector_bytes import pack, unpack

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["RedisCache", "RedisServer"]

_T = TypeVar("_T")
TIMEOUT = 0.02  # seconds, for connecting and for each answer
PAUSE = 5.0  # seconds without a request after a failure
_LRU = ("allkeys-lru", "allkeys-lfu")


class RedisServer:
    """A connection to a Redis server that fails fast.

    After a failure the server is not asked for ``PAUSE`` seconds (a circuit breaker), so that a server that is
    down costs one time-out per pause and not one per request.

    Args:
        url: Such as ``redis://localhost:6379/0``; options of redis-py may follow, such as ``?socket_timeout=0.1``.
        clock: Seconds that never decrease.

    Attributes:
        failures: Requests that failed.
        skipped: Requests that were not made because of an earlier failure.

    Raises:
        SettingError: The package redis is missing, or the URL is not one of Redis.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures, self.skipped, self._clock, self._lock = 0, 0, clock, Lock()
        self._asks_again = float("-inf")
        self._client = _client(url)
        # The URL may hold a password
        place = self._client.connection_pool.connection_kwargs
        self.name = place.get("path") or f"{place.get('host', 'localhost')}:{place.get('port', 6379)}"

    def ask(self, request: Callable[[Redis], _T]) -> _T | None:
        """The answer to a request; None if the server fails, or has failed a short time ago."""
        if self._clock() < self._asks_again:
            with self._lock:
                self.skipped += 1
            return None
        try:
            return request(self._client)
        except Exception:  # of the network, of the server's answers, or of their encoding: all are the same here
            with self._lock:
                self.failures += 1
                self._asks_again = self._clock() + PAUSE
            return None

    def check(self) -> None:
        """Warns once if the server does not answer, or would rather refuse new vectors than drop old ones."""
        memory: Any = self.ask(lambda client: client.info("memory"))
        if memory is None:
            getLogger().warning(
                f"Redis at {self.name} does not answer within {1000 * TIMEOUT:g} ms; until it does, vectors that "
                "this process has not cached are computed"
            )
        elif memory.get("maxmemory_policy") not in (None, *_LRU):
            getLogger().warning(
                f"Redis at {self.name} has maxmemory-policy {memory['maxmemory_policy']}; set it to allkeys-lru "
                "or allkeys-lfu, or it refuses new vectors once its memory is full"
            )


def _client(url: str) -> Redis:
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise SettingError(
            "redis_url needs the package redis: pip install 'recbole-clickprompt[redis]'"
        ) from error
    try:
        return Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, TypeError) as error:
        raise SettingError(
            "redis_url must begin with redis://, rediss:// or unix://, such as redis://localhost:6379/0: "
            f"{' '.join(str(error).split())[:160]}"
        ) from error


class RedisCache:
    """Vectors of one width in a Redis server.

    Args:
        server: The server.
        width: A.
        ttl: Seconds after which the server drops a vector; None leaves that to its ``maxmemory-policy``. Keys hold
            the hash of the model, so this only removes vectors of old models.

    Attributes:
        hits: Vectors found.
        misses: Vectors not found, because they are not there, damaged, or the server failed.
        corrupt: Values that are no vectors of this width.
        refused: Vectors that the server did not take.
    """

    def __init__(self, server: RedisServer, width: int, ttl: float | None = None) -> None:
        self.server, self.hits, self.misses, self.corrupt, self.refused = server, 0, 0, 0, 0
        self._width, self._lifetime = width, None if ttl is None else max(1, round(1000 * ttl))
        self._lock = Lock()

    def get(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors that are there, ``(A,)`` each, by key."""
        values: Any = self.server.ask(lambda client: client.mget(keys)) if keys else []
        answers = zip(keys, values or [None] * len(keys), strict=True)
        present = {key: value for key, value in answers if value is not None}
        vectors = {
            key: unpack(value, self._width) if isinstance(value, bytes) else None for key, value in present.items()
        }
        found = {key: vector for key, vector in vectors.items() if vector is not None}
        with self._lock:
            self.hits += len(found)
            self.misses += len(keys) - len(found)
            self.corrupt += len(present) - len(found)
        return found

    def put(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Stores vectors, ``(A,)`` each, in one round trip."""
        if not vectors:
            return

        def store(client: Redis) -> list[Any]:
            with client.pipeline(transaction=False) as pipeline:
                for key, vector in vectors.items():
                    pipeline.set(key, pack(vector), px=self._lifetime)
                return pipeline.execute(raise_on_error=False)

        answers = self.server.ask(store)
        with self._lock:
            self.refused += len(vectors) if answers is None else sum(answer is not True for answer in answers)

    def counters(self) -> dict[str, int]:
        """The counters, and those of the server."""
        return {
            "hits": self.hits, "misses": self.misses, "corrupt": self.corrupt, "refused": self.refused,
            "failures": self.server.failures, "skipped": self.server.skipped,
        }  # fmt: skip

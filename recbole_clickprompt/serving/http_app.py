"""A web application that scores rows: ``POST /score``, ``GET /health`` and ``GET /stats``."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from recbole_clickprompt.errors import UserError
from recbole_clickprompt.serving.batcher import Batcher, Overloaded

__all__ = ["ScoringApp"]

_LATENCIES = 10_000  # of the latest requests
_DRAINED = 1 << 26  # bytes of a body that is too large which are read, so that the sender reads the answer


class ScoringApp:
    """Answers requests with the scores of a batcher.

    Every error is ``{"error": "one line"}``: 400 for rows that cannot be scored, 413 for a body that is too large,
    415 for one that is compressed, 503 if too many requests wait, 500 for a fault of the program.

    Args:
        batcher: Scores the rows; closed when the application ends, after the last request.
        name: Shown by ``/health``.
        max_body: Maximum number of bytes of a request.

    Attributes:
        app: The ASGI application.
    """

    def __init__(self, batcher: Batcher, *, name: str, max_body: int) -> None:
        self._batcher, self._name, self._max_body = batcher, name, max_body
        self._answers: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._started = time.time()
        self.app = Starlette(
            routes=[
                Route("/score", self.score, methods=["POST"]),
                Route("/health", self.health),
                Route("/stats", self.stats),
            ],
            exception_handlers={HTTPException: _refused},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self._batcher.close)

    async def health(self, _: Request) -> Response:
        """That the process answers, and which model it serves."""
        return JSONResponse({"status": "ok", "model": self._name})

    async def stats(self, _: Request) -> Response:
        """Counters since the start; latencies of the latest requests."""
        cache, batcher = self._batcher.model.cache, self._batcher
        return JSONResponse(
            {
                "seconds": round(time.time() - self._started, 3),
                "answers": dict(self._answers),
                "rows": batcher.counts.rows,
                "batches": batcher.batches,
                "waiting": batcher.waiting,
                "latency_ms": self._percentiles(),
                "cache": None if cache is None else cache.counters(),
                "remarks": batcher.counts.remarks(),
            }
        )

    def _percentiles(self) -> dict[str, float] | None:
        if not self._latencies:
            return None
        values = np.quantile(np.array(self._latencies), [0.5, 0.95, 0.99])
        return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}

    async def score(self, request: Request) -> Response:
        """The scores of the rows of a request, in their order."""
        began = time.perf_counter()
        status, content = await self._answer(request)
        self._answers[str(status)] += 1
        if status == 200:
            self._latencies.append(1000 * (time.perf_counter() - began))
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse(content, status, headers)

    async def _answer(self, request: Request) -> tuple[int, dict[str, Any]]:
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return 400, {"error": "the connection was closed within the body"}
        if body is None:
            return 413, {"error": f"the body has more than {self._max_body:,} bytes; send fewer rows per request"}
        coding = ", ".join(request.headers.getlist("content-encoding"))
        if coding.lower() not in ("", "identity"):
            return 415, {
                "error": f"the body has the Content-Encoding {coding[:80]!r}; send plain JSON without one"
            }
        try:
            scores = await asyncio.wrap_future(self._batcher.submit(body))
        except UserError as error:
            return 400, {"error": " ".join(str(error).split())}
        except Overloaded:
            return 503, {"error": "too many requests are waiting; try again later"}
        except Exception as error:  # the batcher has written it to the log
            return 500, {
                "error": f"the request could not be scored ({type(error).__name__}); see the server's log"
            }
        return 200, {"scores": scores.tolist()}

    async def _body(self, request: Request) -> bytes | None:
        """The body; None if it is too large."""
        length = request.headers.get("content-length", "")
        too_large = length.isdigit() and int(length) > self._max_body
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            too_large = too_large or size > self._max_body
            if not too_large:
                parts.append(part)
            elif size > _DRAINED:
                break
        return None if too_large else b"".join(parts)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "POST /score, GET /health and GET /stats"
    return JSONResponse({"error": f"{error.detail}; there are {hint}"}, error.status_code, error.headers)

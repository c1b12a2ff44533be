"""Scores the rows of concurrent requests together, in one thread."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future
from logging import getLogger
from threading import Lock, Thread
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recbole_clickprompt.errors import UserError
from recbole_clickprompt.serving.columns import check_columns, with_field_names
from recbole_clickprompt.serving.json_rows import parse_rows
from recbole_clickprompt.serving.model import ServedModel
from recbole_clickprompt.serving.rows import Counts

__all__ = ["Batcher", "Overloaded"]


class Overloaded(Exception):
    """Too many requests are waiting."""


class _Request(NamedTuple):
    body: bytes
    scores: Future[np.ndarray]


class _Parsed(NamedTuple):
    table: pa.Table
    scores: Future[np.ndarray]


class Batcher:
    """Collects requests for a short time, and scores their rows as one batch.

    ::

        requests   a(1 row)  b(3)  c(1) ...      the first one waits at most ``wait`` for others
        batch      [a b b b c]                   rows with the same columns and types, ``max_rows`` at most
        scores     a | b b b | c                 back to each request

    An invalid row fails the request that contains it and no other. Requests of other columns make batches of their
    own. A request is never split: one of more than ``max_rows`` rows is a batch. A request that is canceled while
    it waits is left out; once its rows are read, it can no longer be canceled.

    Args:
        model: Scores the rows; it is used by the one thread.
        max_rows: Maximum number of rows of a batch.
        wait: Seconds for which a request waits for others.
        max_waiting: Maximum number of requests that wait.

    Attributes:
        counts: Counts of unusual values in all rows.
        batches: Number of batches that have been scored.
    """

    def __init__(self, model: ServedModel, *, max_rows: int, wait: float, max_waiting: int) -> None:
        self.model, self.max_rows, self.wait = model, max_rows, wait
        self.counts, self.batches = Counts(), 0
        self._queue: queue.Queue[_Request | None] = queue.Queue()
        self._max_waiting, self._closed, self._lock = max_waiting, False, Lock()
        self._thread = Thread(target=self._run, name="scoring", daemon=True)
        self._thread.start()

    def submit(self, body: bytes) -> Future[np.ndarray]:
        """Scores the rows of a request.

        Args:
            body: As for ``parse_rows``.

        Returns:
            The scores, ``(rows,)`` float64, later; or a ``UserError`` about the rows.

        Raises:
            Overloaded: Too many requests are waiting, or ``close`` was called.
        """
        with self._lock:
            if self._closed or self._queue.qsize() >= self._max_waiting:
                raise Overloaded
            request = _Request(body, Future())
            self._queue.put(request)
        return request.scores

    @property
    def waiting(self) -> int:
        """Number of requests that wait, about."""
        return self._queue.qsize()

    def close(self) -> None:
        """Finishes the requests that were submitted; new ones are refused."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ends = False
        left: _Parsed | None = None  # did not fit into the batch before
        while not ends or left is not None:
            batch, left = ([] if left is None else [left]), None
            rows, deadline = sum(len(request.table) for request in batch), float("inf")
            while not ends and rows < self.max_rows:
                if batch:
                    deadline = min(deadline, time.monotonic() + self.wait)
                try:
                    request = self._queue.get(timeout=max(0, deadline - time.monotonic()) if batch else None)
                except queue.Empty:
                    break
                if request is None:
                    ends = True
                elif (parsed := self._parse(request)) is not None:
                    if batch and rows + len(parsed.table) > self.max_rows:
                        left = parsed
                        break
                    batch.append(parsed)
                    rows += len(parsed.table)
            if batch:
                self._score(batch)

    def _parse(self, request: _Request) -> _Parsed | None:
        if not request.scores.set_running_or_notify_cancel():  # a result of a canceled one would end this thread
            return None
        try:
            table = parse_rows(request.body)
            fields = check_columns(self.model.preprocessing, table.column_names, source="the request")
            return _Parsed(with_field_names(table, fields), request.scores)
        except Exception as error:
            _fail(request.scores, error)
            return None

    def _score(self, batch: Sequence[_Parsed]) -> None:
        groups: dict[str, list[_Parsed]] = {}
        for request in batch:
            groups.setdefault(str(request.table.schema), []).append(request)
        for group in groups.values():
            self.batches += 1
            try:
                scores = self._scored(pa.concat_tables([request.table for request in group]))
            except Exception as error:
                if len(group) == 1:
                    _fail(group[0].scores, error)
                else:  # each by itself, so that the error names the row of its request and fails no other
                    for request in group:
                        self._score([request])
                continue
            ends = np.cumsum([len(request.table) for request in group])
            for request, part in zip(group, np.split(scores, ends[:-1]), strict=True):
                request.scores.set_result(part)

    def _scored(self, table: pa.Table) -> np.ndarray:
        counts = Counts()
        scores = self.model.score(table, counts)
        if len(scores) != len(table):
            raise RuntimeError(f"the model gave {len(scores)} scores for {len(table)} rows")
        self.counts.add(counts)
        return scores


def _fail(scores: Future[np.ndarray], error: Exception) -> None:
    if not isinstance(error, UserError):
        getLogger().error("a request failed", exc_info=error)
    scores.set_exception(error)

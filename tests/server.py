"""A web server on this machine, for tests of what is fetched and of pages that are shown."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """A handler of requests that logs none of them."""

    def log_message(self, *_: Any) -> None:
        """Writes nothing."""


class FileHandler(QuietHandler, http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder."""


@contextmanager
def serve(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[Any]:
    """Serves until the block ends.

    Args:
        handler: Answers a request.

    Yields:
        The server. It also has ``url``, its address without a slash at the end, and ``requests``, an empty list
        for handlers to write to.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.requests, server.url = [], f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def serve_folder(folder: Path) -> Any:
    """Serves the files of a folder, as ``serve``."""
    return serve(functools.partial(FileHandler, directory=str(folder)))

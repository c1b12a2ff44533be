"""Runs the web application of a model until the process is asked to end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.serving.batcher import Batcher
from recbole_clickprompt.serving.model import ServedModel

if TYPE_CHECKING:
    import uvicorn

__all__ = ["check_packages", "serve"]

_GRACE = 30  # seconds for accepted requests at the end, of which a client may never send the rest


def check_packages() -> None:
    """Raises SettingError where a package of the extra ``serve`` is missing."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"serve needs the package {error.name}: pip install 'recbole-clickprompt[serve]'"
        ) from error


def serve(
    model: ServedModel,
    *,
    name: str,
    host: str,
    port: int,
    max_rows: int,
    wait: float,
    max_waiting: int,
    max_body: int,
    started: Callable[[str], None],
) -> None:
    """Answers requests until SIGTERM or Ctrl-C; accepted requests are finished first.

    Args:
        model: Scores the rows.
        name: Name of the model.
        host: Address to listen at; only those of this machine reach 127.0.0.1.
        port: 0 chooses a free one.
        max_rows: As for ``Batcher``.
        wait: As for ``Batcher``, seconds.
        max_waiting: As for ``Batcher``.
        max_body: Maximum number of bytes of a request.
        started: Called with the URL once requests are accepted.

    Raises:
        SettingError: A package is missing, or the address is in use or not one of this machine.
    """
    check_packages()
    import uvicorn

    from recbole_clickprompt.serving.http_app import ScoringApp

    listener = _listener(host, port)
    batcher = Batcher(model, max_rows=max_rows, wait=wait, max_waiting=max_waiting)
    app = ScoringApp(batcher, name=name, max_body=max_body).app
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
        log_config=None,
    )
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _server(config, lambda: started(url)).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        batcher.close()
        listener.close()


def _ignore(number: int, frame: FrameType | None) -> None:
    """After its end, uvicorn raises once more the signal that ended it; this makes that an ordinary end."""


def _server(config: uvicorn.Config, started: Callable[[], None]) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    return Server(config)


def _listener(host: str, port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where TCP is named; else the last part of an answer waits 40 ms
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, proto=socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        return listener
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise SettingError(
            f"the server cannot listen at {host}, port {port}: {reason}; choose another --port or --host"
        ) from error

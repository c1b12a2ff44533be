"""Score rows over HTTP: a server for any trained model.

    curl -d '{"rows": [{"user_id": "196", "item_id": "242"}]}' http://127.0.0.1:8000/score

answers {"scores": [0.58]}. Rows are those of `recbole-cp predict`: the ids, the fields of the row itself, and the
features of users and items that training never saw; lists are lists, and null is missing. The ids and the fields
of the row itself must be given, if only as null; features of users and items may be left out. Requests
that arrive at about the same time are scored as one batch. GET /health says that the server answers, and
GET /stats gives counters of requests, latencies, caches and unusual values.

Errors are {"error": "one line"}: status 400 for rows that cannot be scored, 413 for a request that is too large,
415 for one that is compressed, 503 if too many wait. On SIGTERM or Ctrl-C accepted requests are finished first.

The server has no password and no encryption. It only accepts connections of this machine, unless --host names
another address: then use a reverse proxy in front of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.commands.arguments import add_cache, cache_options, check_minimum, reject_settings
from recbole_clickprompt.errors import SettingError

__all__ = ["add_arguments", "execute"]

_MEGABYTE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the address, and how requests are batched."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="a run's .pth file or folder, or the folder of a published model or an export",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 chooses a free one (default: %(default)s)")
    parser.add_argument(
        "--batch-rows", type=int, default=1024, metavar="N", help="most rows of a batch (default: %(default)s)"
    )
    parser.add_argument(
        "--wait-ms", type=float, default=1.0, metavar="MS",
        help="time that a request waits for others to share its batch (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-waiting", type=int, default=1000, metavar="N", help="most waiting requests (default: %(default)s)"
    )
    parser.add_argument(
        "--max-body", type=int, default=16, metavar="MB", help="most megabytes of a request (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of PyTorch (default: torch's choice)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where available)")
    add_cache(parser)


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Serves until the process is asked to end.

    Raises:
        SettingError: An argument is invalid, a package is missing, or the address cannot be used.
        DataError: An export is damaged.
        WeightsError: The model cannot be loaded.
    """
    from recbole_clickprompt.serving.http_server import check_packages, serve

    reject_settings(options, settings)
    check_minimum(options, 1, "batch_rows", "max_waiting", "max_body", "threads")
    check_minimum(options, 0, "port")
    if not 0 <= options.wait_ms <= 10_000:
        raise SettingError(f"--wait-ms must be between 0 and 10000, got {options.wait_ms:g}")
    check_packages()  # before a model is loaded for seconds

    import torch

    from recbole_clickprompt.serving.load import load_model

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = load_model(options.run, options.device, **cache_options(options))
    serve(
        model,
        name=str(options.run),
        host=options.host,
        port=options.port,
        max_rows=options.batch_rows,
        wait=options.wait_ms / 1000,
        max_waiting=options.max_waiting,
        max_body=options.max_body * _MEGABYTE,
        started=lambda url: print(f"{options.run} is served at {url}; Ctrl-C ends it", flush=True),
    )
    print("all accepted requests were answered")

"""Load on ``recbole-cp serve`` over the loopback: requests and rows per second, and latencies.

    python -m benchmarks.serve                                     # trains a small model first
    python -m benchmarks.serve --run=saved/DCNV2-….pth --connections=32 --rows=10

Three servers, which are measured in turns: one connection, whose requests are scored one at a time; several
connections whose requests are scored one at a time; and several whose requests share batches. Rows are of random
known users and items.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from recbole_clickprompt.evaluation.tables import markdown_table
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing

__all__ = ["Load", "main", "measure", "random_bodies", "table"]

_WARM_UP = 0.5  # seconds that are not counted
_ALONE = ["--batch-rows=1", "--wait-ms=0"]


class Load(NamedTuple):
    """What a server did under load.

    Attributes:
        name: How requests were made and scored.
        connections: Clients, each of which waits for an answer before its next request.
        rows: Rows per request.
        rounds: Seconds of each measurement, and milliseconds of each request that was answered in it.
    """

    name: str
    connections: int
    rows: int
    rounds: list[tuple[float, list[float]]]

    @property
    def latencies(self) -> list[float]:
        """Milliseconds of all answered requests."""
        return [latency for _, latencies in self.rounds for latency in latencies]

    @property
    def requests_per_second(self) -> float:
        """Answered requests per second, the median of the rounds."""
        return median(len(latencies) / seconds for seconds, latencies in self.rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="checkpoint or folder of a run (default: train one on tiny)")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rows", type=int, default=1, help="rows per request (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: %(default)s)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or _train(Path(folder))
        saved = (run if run.is_dir() else run.with_suffix("")) / "preprocessing"
        bodies = random_bodies(Preprocessing.load(saved), rows=options.rows, count=512)
        loads = [
            Load("one request at a time", 1, options.rows, []),
            Load(f"{options.connections} connections, without batches", options.connections, options.rows, []),
            Load(f"{options.connections} connections, in batches", options.connections, options.rows, []),
        ]
        with ExitStack() as servers:
            ports = [servers.enter_context(_server(run, how)) for how in (_ALONE, _ALONE, [])]
            for _ in range(options.rounds):  # in turns, so that other processes on the machine affect all alike
                for load, port in zip(loads, ports, strict=True):
                    load.rounds.append(asyncio.run(measure(port, bodies, load.connections, options.seconds)))
    print(table(loads))


def table(loads: Sequence[Load]) -> str:
    """A Markdown table; the last column is relative to the first line."""
    header = ["requests", "requests/s", "rows/s", "p50 ms", "p95 ms", "ratio"]
    rows = [
        [
            load.name,
            f"{load.requests_per_second:,.0f}",
            f"{load.rows * load.requests_per_second:,.0f}",
            *(f"{np.quantile(load.latencies, part):.2f}" for part in (0.5, 0.95)),
            f"{load.requests_per_second / loads[0].requests_per_second:.2f}",
        ]
        for load in loads
    ]
    return markdown_table(header, rows)


def random_bodies(preprocessing: Preprocessing, *, rows: int, count: int, seed: int = 0) -> list[bytes]:
    """Requests of rows with random known values in the ids and in the fields of the row itself."""
    random = np.random.default_rng(seed)
    fields = [field for field in preprocessing.fields.values() if field.source in ("user_id", "item_id", "inter")]

    def value(name: str) -> str | float | None:
        tokens = preprocessing.vocabulary.get(name)
        return None if tokens is None or len(tokens) < 2 else str(tokens[random.integers(1, len(tokens))])

    return [
        json.dumps({"rows": [{field.name: value(field.name) for field in fields} for _ in range(rows)]}).encode()
        for _ in range(count)
    ]


def _train(folder: Path) -> Path:
    from recbole.quick_start import run_recbole

    settings = {
        "data_path": str(Path(__file__).parents[1] / "dataset_atomic"), "checkpoint_dir": str(folder),
        "gpu_id": "", "state": "error", "show_progress": False, "train_stage": "finetune", "epochs": 1,
        "baselines": False,
    }  # fmt: skip
    return Path(run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict=settings)["checkpoint"])


@contextmanager
def _server(run: Path, options: Sequence[str]) -> Iterator[int]:
    """Yields the port of a server in a process of its own, with one thread."""
    command = [sys.executable, "-m", "recbole_clickprompt", "serve", str(run), "--port=0", "--threads=1", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+);", line := process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the server did not start: {line}")
        yield int(found[1])
    finally:
        process.terminate()
        process.communicate()


async def measure(
    port: int, bodies: Sequence[bytes], connections: int, seconds: float
) -> tuple[float, list[float]]:
    """Duration and latencies in milliseconds of the requests of concurrent clients."""
    begin = time.perf_counter() + _WARM_UP
    end = begin + seconds
    found = await asyncio.gather(
        *(_client(port, bodies[number::connections] or bodies, begin, end) for number in range(connections))
    )
    return seconds, [latency for one in found for latency in one]


async def _client(port: int, bodies: Sequence[bytes], begin: float, end: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies, number = [], 0
    while (started := time.perf_counter()) < end:
        body = bodies[number % len(bodies)]
        writer.write(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        answer = await reader.readexactly(int(length[1]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        number += 1
        if begin <= started and (now := time.perf_counter()) <= end:
            latencies.append(1000 * (now - started))
    writer.close()
    return latencies


if __name__ == "__main__":
    main()

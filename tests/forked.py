"""Python programs in forks of one process that has imported the libraries, which takes seconds in a new process.

Where the start of Python itself is the subject of a test, use ``subprocess``.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["CONTEXT", "Program", "run"]

CONTEXT = mp.get_context("forkserver")
# Imported once for all programs and ranks of all tests; the server has computed nothing, so its children may
CONTEXT.set_forkserver_preload(
    ["recbole_clickprompt.trainer", "recbole_clickprompt.host.atomic_reader",
     "recbole_clickprompt.methods.clickprompt.model", "transformers.models.bert.modeling_bert", "tokenizers",
     "sklearn.metrics", "pytest", "torch.distributed", "torchrec"]
)  # fmt: skip


class Program:
    """A running program, like ``subprocess.Popen``.

    Args:
        command: Arguments of Python: a file, ``-m MODULE`` or ``-c CODE``, and what follows it.
        environment: Its variables; None for those of this process.
        text: What it reads from its standard input.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, text: str = ""
    ) -> None:
        self.command = list(command)
        self._streams = [tempfile.NamedTemporaryFile(mode="w+") for _ in range(3)]  # noqa: SIM115
        self._streams[0].write(text)
        self._streams[0].flush()
        files = [stream.name for stream in self._streams]
        variables = dict(os.environ if environment is None else environment)
        self._process = CONTEXT.Process(target=_start, args=(self.command, os.getcwd(), variables, files))
        self._process.start()

    def is_running(self) -> bool:
        return self._process.is_alive()

    def printed(self) -> str:
        """What it has printed so far."""
        return Path(self._streams[1].name).read_text()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def finish(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Waits for its end; then its exit status, negative for a signal, and what it printed."""
        self._process.join(timeout)
        if self._process.is_alive():
            self.kill()
            raise subprocess.TimeoutExpired(self.command, timeout)
        errors = Path(self._streams[2].name).read_text()
        return subprocess.CompletedProcess(self.command, self._process.exitcode, self.printed(), errors)


def run(
    command: Sequence[str], environment: Mapping[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, like ``subprocess.run``; the arguments are those of ``Program``."""
    return Program(command, environment, text).finish()


def _start(command: list[str], folder: str, environment: dict[str, str], files: list[str]) -> None:
    import psutil
    import torch

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, (name, mode) in enumerate(zip(files, ("r", "w", "w"), strict=True)):
        with open(name, mode) as stream:
            os.dup2(stream.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    warnings.simplefilter("ignore")
    logging.root.handlers.clear()  # one that an import has added would keep RecBole from adding its own
    torch.set_num_threads(1)
    psutil.cpu_percent = lambda interval=None: 0.0  # which run_recbole measures for a second
    kind, *arguments = command
    if kind == "-c":
        code, *rest = arguments
        sys.argv = ["-c", *rest]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(kind, run_name="__main__")

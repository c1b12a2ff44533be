"""Calls the command line in a forked process: with limits, without a network, and with its output in files."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import random
import resource
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import recbole.config
import torch
import torch.multiprocessing

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.host import token_cache

CPU_SECONDS, WALL_SECONDS = 40, 240  # of a case; several times what it takes on a slow processor
_MEMORY = 4 << 30  # bytes that a case may take in addition to what the fuzzer has itself
_FILE_SIZE = 200 << 20


@dataclass
class Answer:
    """What a call of the command line came to.

    Attributes:
        code: Exit code.
        out: Standard output.
        err: Standard error, with the log.
        failure: The traceback of an exception that left the command line; empty if there was none.
        config: The settings that the last config of the call held, by name.
    """

    code: int
    out: str
    err: str
    failure: str = ""
    config: dict[str, Any] = field(default_factory=dict)


def fork(work: Callable[[], None], error_file: Path) -> int:
    """Does the work in a process of its own; returns its id. The process never returns into the caller's code."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()  # a hung case is killed with all its children
        work()
        code = 0
    except BaseException:  # of any kind, also from a library
        error_file.write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(code)


def import_modules(names: Iterable[str]) -> None:
    """Imports modules that a forked process had to import, so that the next ones find them in place."""
    for name in names:
        if name not in sys.modules and name.partition(".")[0] not in ("__main__", "__mp_main__"):
            with contextlib.suppress(Exception):  # a part of a package that was made up while it was imported
                importlib.import_module(name)


def call(
    arguments: list[str], output: Path, environment: dict[str, str] | None = None, cpu_seconds: int = CPU_SECONDS
) -> Answer:
    """Calls the command line in this process, which is used for nothing else afterwards.

    Args:
        arguments: Without the program's name.
        output: A folder for the files ``out.txt`` and ``err.txt``.
        environment: Further variables.
        cpu_seconds: Processor time after which the process is ended.
    """
    _prepare_process(output, environment or {}, cpu_seconds)
    configs = _watch_configs()
    failure = ""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        code, failure = 1, traceback.format_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    settings = dict(configs[-1].final_config_dict) if configs and hasattr(configs[-1], "final_config_dict") else {}
    texts = [(output / name).read_bytes().decode("utf-8", "replace") for name in ("out.txt", "err.txt")]
    return Answer(code, *texts, failure, settings)


def _prepare_process(output: Path, environment: dict[str, str], cpu_seconds: int) -> None:
    for number, name, errors in ((1, "out.txt", "strict"), (2, "err.txt", "backslashreplace")):
        descriptor = os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
        stream = open(number, "w", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, "stdout" if number == 1 else "stderr", stream)
    logging.root.handlers.clear()  # those of a test
    warnings.simplefilter("ignore")
    os.environ.update({"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment})
    torch.set_num_threads(1)
    random.seed(0)
    _limit(resource.RLIMIT_AS, psutil.Process().memory_info().vms + _MEMORY)
    _limit(resource.RLIMIT_CPU, int(sum(os.times()[:2])) + cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, _FILE_SIZE)
    _limit(resource.RLIMIT_CORE, 0)
    socket.getaddrinfo = _local_only(socket.getaddrinfo)
    psutil.cpu_percent = lambda *_, **__: 0.0  # RecBole measures it for a second in each run
    torch.multiprocessing.start_processes = _no_processes
    token_cache._CACHED_FROM = 0  # the tokens of a small data set are cached too


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _local_only(original: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (None, "", "localhost", "127.0.0.1", "::1"):
            raise socket.gaierror(f"the fuzzer has no network for {host}")
        return original(host, *args, **kwargs)

    return getaddrinfo


class _Processes:
    processes = ()

    def join(self) -> bool:
        return True


def _no_processes(*_: Any, **__: Any) -> _Processes:
    # Each would import everything anew; what precedes their start is what the fuzzer is about
    print("the fuzzer starts no further processes")
    return _Processes()


def _watch_configs() -> list[Any]:
    made: list[Any] = []
    original = recbole.config.Config.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made.append(self)

    recbole.config.Config.__init__ = init
    return made

"""Runs training in several processes on this machine and ends all of them when one fails."""

from __future__ import annotations

import errno
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch.multiprocessing as mp

from recbole_clickprompt.errors import SettingError, UserError
from recbole_clickprompt.host.distributed import set_rank_environment

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import SimpleQueue

__all__ = ["launch"]

_MOST_PROCESSES = 1024
_TRACEBACK = 4000  # characters, so that the tracebacks of all ranks fit into a pipe


def launch(
    arguments: tuple[Any, ...], *, nproc: int, world_size: int, ip: str, port: int | None, group_offset: int
) -> None:
    """Trains and tests in several processes; returns when all have finished.

    Args:
        arguments: Arguments of ``run_recbole``.
        nproc: Number of processes on this machine.
        world_size: Number of processes on all machines.
        ip: Address of the first machine.
        port: Port on the first machine; None for a free one.
        group_offset: Rank of the first process on this machine.

    Raises:
        SettingError: The numbers contradict each other.
        UserError: A rank raised it, as a single process would; or a rank was ended by a signal.
        RuntimeError: A rank failed; the message ends with its traceback.
        SystemExit: A rank exited with this code.
    """
    if nproc < 1 or group_offset < 0 or group_offset + nproc > world_size:
        raise SettingError(
            f"--nproc={nproc} --group_offset={group_offset} do not fit --world_size={world_size}: the ranks of "
            "this machine are group_offset to group_offset + nproc - 1"
        )
    if nproc > _MOST_PROCESSES:
        raise SettingError(f"--nproc must be at most {_MOST_PROCESSES}, got {nproc}")
    if port is not None and not 1 <= port <= 65535:
        raise SettingError(f"--port must be from 1 to 65535, got {port}")
    if port is not None and group_offset == 0:
        _check_port(ip, port)
    if port is None:
        if nproc < world_size:
            raise SettingError(
                "several machines require --port: the same free port of the first machine on all of them"
            )
        port = _free_port()
    place = {"nproc": nproc, "offset": group_offset, "world": world_size, "ip": ip, "port": port}
    failures = mp.get_context("spawn").SimpleQueue()
    context = mp.start_processes(_train, (place, arguments, failures), nproc, join=False, start_method="spawn")
    with _ending(context.processes):
        try:
            # Ends the other processes when one fails: SIGTERM at once, SIGKILL 30 seconds later
            while not context.join():
                pass
        except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
            raise _first_failure(failures, error) from None


@contextmanager
def _ending(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """A context that forwards SIGTERM to the processes, and at its end terminates those that still run."""

    def end(*_: object) -> None:
        for process in processes:
            process.terminate()

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if in_main else None
    try:
        yield
    finally:
        end()
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _train(local_rank: int, place: dict[str, Any], arguments: tuple[Any, ...], failures: SimpleQueue) -> None:
    from recbole.quick_start import run_recbole

    from recbole_clickprompt import distributed

    set_rank_environment(local_rank=local_rank, **place)
    try:
        run_recbole(*arguments)
        distributed.destroy()
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else None
        rank = place["offset"] + local_rank
        failures.put((time.time(), rank, message, traceback.format_exc()[-_TRACEBACK:]))
        raise


def _first_failure(
    failures: SimpleQueue, error: mp.ProcessRaisedException | mp.ProcessExitedException
) -> BaseException:
    # When a rank fails, the others lose their connections to it and fail later
    reported = []
    while not failures.empty():
        reported.append(failures.get())
    if isinstance(error, mp.ProcessExitedException) and error.exit_code > 0:
        return SystemExit(error.exit_code)
    if isinstance(error, mp.ProcessExitedException) and error.signal_name:
        return UserError(
            f"the run has ended, as process {error.error_index} of this machine was ended by {error.signal_name}, "
            "which may mean that memory ran out; --resume=auto continues from the last state that was saved"
        )
    if not reported:
        return RuntimeError(f"a process of this run ended: {error}")
    _, rank, message, text = min(reported)
    if message is not None:
        return UserError(message)
    return RuntimeError(f"rank {rank} failed and the run has ended:\n{text}")


def _check_port(ip: str, port: int) -> None:
    """Refuses a port of this machine that another process listens on, and an address that there is not."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ip, port))
    except socket.gaierror as error:
        raise SettingError(f"--ip={ip[:60]} is no address of a machine: {error.strerror}") from error
    except (UnicodeError, ValueError) as error:
        raise SettingError(f"--ip={ip[:60]!r} is no address of a machine") from error
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise SettingError(f"--port={port} cannot be used: {error.strerror}; take another") from error
        # The address may be one that only other machines see


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]

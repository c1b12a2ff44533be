"""Runs a function on several ranks, each a process of its own on this machine, connected by gloo."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from tests.forked import CONTEXT


def on_ranks(function: Callable[..., Any], *arguments: Any, world: int = 2, timeout: float = 120) -> list[Any]:
    """What ``function(*arguments)`` gives on each rank; fails with the traceback of a rank that fails."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    pipes, processes = [], []
    for rank in range(world):
        receiver, sender = CONTEXT.Pipe(duplex=False)
        place = {"local_rank": rank, "nproc": world, "offset": 0, "world": world, "ip": "localhost", "port": port}
        process = CONTEXT.Process(
            target=_work, args=(sender, place, os.getcwd(), function, arguments), daemon=True
        )
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    try:
        answers = []
        for rank, pipe in enumerate(pipes):
            assert pipe.poll(timeout), f"rank {rank} gave no answer within {timeout} s"
            failed, answer = pickle.loads(pipe.recv_bytes())
            assert not failed, f"rank {rank}:\n{answer}"
            answers.append(answer)
        return answers
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def _work(pipe: Any, place: dict[str, Any], folder: str, function: Any, arguments: tuple[Any, ...]) -> None:
    import torch

    from recbole_clickprompt import distributed
    from recbole_clickprompt.host.distributed import set_rank_environment

    os.chdir(folder)
    sys.argv = ["pytest"]
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    try:
        if place["world"] > 1:
            set_rank_environment(**place)
        answer = (False, function(*arguments))
        distributed.destroy()
    except BaseException:
        answer = (True, traceback.format_exc())
    pipe.send_bytes(pickle.dumps(answer))  # or tensors would stay with this process, which ends

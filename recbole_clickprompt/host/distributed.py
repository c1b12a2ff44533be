"""Runs RecBole in several processes, whose ranks are given by the environment variables that torchrun sets.

RecBole sees each rank as a single process, which reads all batches and gets the metrics of all rows. RecBole's own
support for several processes (NCCL only, samplers that repeat rows, metrics averaged over ranks) is not used.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import recbole.quick_start
import recbole.quick_start.quick_start as quick_start
import recbole.trainer.trainer
import torch
from recbole.config import Config

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.registry import method_names

__all__ = ["install", "is_distributed", "run_recboles", "set_rank_environment"]

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def set_rank_environment(*, local_rank: int, nproc: int, offset: int, world: int, ip: str, port: int) -> None:
    """Sets the environment variables of this rank, and limits its threads to its share of the cores.

    Args:
        local_rank: Number of the process on this machine.
        nproc: Number of processes on this machine.
        offset: Rank of the first process on this machine.
        world: Number of processes on all machines.
        ip: Address of the machine of rank 0.
        port: Port on that machine.
    """
    values = (offset + local_rank, local_rank, world, nproc, ip, port)
    os.environ.update(zip(_RANK_VARIABLES, map(str, values), strict=True))
    if "OMP_NUM_THREADS" not in os.environ:
        # With more threads than cores, threads spin while they wait, which slows down all of them
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // nproc))


def is_distributed() -> bool:
    """Whether torchrun or ``set_rank_environment`` has made this process one of several."""
    return all(name in os.environ for name in _RANK_VARIABLES) and _rank_numbers()["WORLD_SIZE"] > 1


def _rank_numbers() -> dict[str, int]:
    """The rank variables that are numbers; raises SettingError where they are none, or do not fit each other."""
    numbers = {}
    for name in _RANK_VARIABLES:
        if name == "MASTER_ADDR":
            continue
        text, least, most = os.environ[name], int("SIZE" in name), 65535 if name == "MASTER_PORT" else 1 << 20
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
            raise SettingError(
                f"the environment variable {name} must be a whole number from {least} to {most}, got "
                f"{text[:60]!r}; torchrun sets it; unset it to train in one process"
            )
        numbers[name] = int(text)
    for rank, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if numbers["WORLD_SIZE"] > 1 and numbers[rank] >= numbers[size]:
            raise SettingError(
                f"the environment variable {rank} must be below {size}, got {numbers[rank]} and {numbers[size]}; "
                "torchrun sets them; unset them to train in one process"
            )
    if numbers["LOCAL_WORLD_SIZE"] > numbers["WORLD_SIZE"] > 1:  # the missing processes would be waited for
        raise SettingError(
            f"the environment variable LOCAL_WORLD_SIZE must be at most WORLD_SIZE, {numbers['WORLD_SIZE']}, got "
            f"{numbers['LOCAL_WORLD_SIZE']}; torchrun sets them; unset them to train in one process"
        )
    return numbers


def install() -> None:
    """Patches RecBole so that models of registered methods join the process group when their config is created."""
    init_device = Config._init_device

    @functools.wraps(init_device)
    def init_device_of_rank(self: Config) -> None:
        settings = self.final_config_dict
        wanted = settings.get("device")  # as the user gave it
        if self.model not in method_names():
            init_device(self)
            return
        if not is_distributed():
            if "local_rank" in settings:
                raise SettingError("local_rank is set by what starts the processes, such as --nproc; leave it out")
            init_device(self)
            _check_device(wanted, settings["device"])
            return
        for key in ("local_rank", "world_size", "offset", "nproc", "ip", "port"):
            settings.pop(key, None)
        init_device(self)  # as for a single process
        _check_device(wanted, settings["device"])
        settings["device"] = _join(settings["device"])
        # local_rank stays 0: RecBole adds it to the seed, but all ranks must start with equal weights
        settings["offset"] = distributed.current().rank
        os.makedirs(settings["checkpoint_dir"], exist_ok=True)  # otherwise ranks would create it concurrently
        if not distributed.current().is_main:
            settings.update(state="error", show_progress=False, verbose=False, log_wandb=False)
            settings.update(save_dataset=False, save_dataloaders=False)
            _write_nothing()

    Config._init_device = init_device_of_rank
    # Pickled by reference to this module, so child processes of RecBole's `run` import the plug-in
    for module in (quick_start, recbole.quick_start):
        module.run_recboles = run_recboles


def _check_device(wanted: object, device: torch.device) -> None:
    # RecBole overrides the setting ``device`` silently
    if wanted is not None and str(wanted).partition(":")[0] != device.type:
        reason = "gpu_id selects it" if torch.cuda.is_available() else "there is no GPU"
        raise SettingError(
            f"device is {str(wanted)[:60]!r}, but this run uses {device.type}, as {reason}; leave device out, and "
            "select GPUs with gpu_id ('' for the CPU)"
        )


def run_recboles(rank: int, *arguments: Any) -> None:
    """Replaces RecBole's function for the processes that ``run`` starts, so that they load the plug-in."""
    options = arguments[-1]
    settings = options["config_dict"]
    settings["local_rank"] = rank
    set_rank_environment(
        local_rank=rank,
        nproc=settings["nproc"],
        offset=settings["offset"],
        world=settings["world_size"],
        ip=settings["ip"],
        port=settings["port"],
    )
    queue = options["queue"] if rank == 0 else None
    quick_start.run_recbole(*arguments[:-1], config_dict=settings, queue=queue)
    distributed.destroy()


def _join(device: torch.device) -> torch.device:
    rank, local_rank, world, nproc, port = _rank_numbers().values()
    if device.type == "cuda":
        if torch.cuda.device_count() < nproc:
            raise SettingError(
                f"gpu_id names {torch.cuda.device_count()} GPU(s) for {nproc} processes on this machine; name one "
                "per process, for example --gpu_id='0,1', or none (--gpu_id='') to use the CPU"
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    if distributed.current().world == 1:  # a hyperparameter search creates many configs in one process
        distributed.init(
            rank=rank,
            world=world,
            local_rank=local_rank,
            address=os.environ["MASTER_ADDR"],
            port=port,
            device=device,
        )
    return device


class _NoBoard:
    """Replaces TensorBoard's writer on ranks other than 0."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def _write_nothing() -> None:
    quick_start.init_logger = lambda config: logging.getLogger().setLevel(logging.ERROR)
    recbole.trainer.trainer.get_tensorboard = lambda logger: _NoBoard()

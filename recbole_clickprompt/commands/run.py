"""Train and test a model: RecBole's run_recbole.py with the models of this package.

Every other --key=value is a setting, its value read as YAML. --model is a method, such as ClickPrompt or
ClickPromptNoPLM, or the name of a backbone, which is then trained alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recbole_clickprompt.commands.options import add_run_arguments, parse_run
from recbole_clickprompt.errors import SettingError

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's flags."""
    add_run_arguments(parser)
    parser.add_argument("--nproc", type=int, default=1, help="number of processes on this machine")
    parser.add_argument("--ip", default="localhost", help="address of the first machine")
    parser.add_argument("--port", type=int, help="port there; default on one machine: any free port")
    parser.add_argument("--world_size", type=int, default=-1, help="number of processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Trains and tests, in one process or several; results go to RecBole's log.

    Raises:
        SettingError: A setting is invalid, or contradicts torchrun.
    """
    from recbole.quick_start import run_recbole

    from recbole_clickprompt import distributed
    from recbole_clickprompt.host.distributed import is_distributed
    from recbole_clickprompt.host.launch import launch

    described = parse_run(options, settings)
    if options.port is not None and not 1 <= options.port <= 65535:
        raise SettingError(f"--port must be from 1 to 65535, got {str(options.port)[:60]}")
    world_size = options.nproc if options.world_size < 0 else options.world_size
    if is_distributed():
        if options.nproc != 1 or options.world_size > 0:
            raise SettingError("torchrun determines the number of processes; leave out --nproc and --world_size")
        run_recbole(*described)
        distributed.destroy()
    elif world_size == options.nproc == 1:
        run_recbole(*described)
    else:
        launch(
            described,
            nproc=options.nproc,
            world_size=world_size,
            ip=options.ip,
            port=options.port,
            group_offset=options.group_offset,
        )

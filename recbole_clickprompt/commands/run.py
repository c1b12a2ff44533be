"""Train and test a model: RecBole's run_recbole.py with our models.

Every other --key=value is a setting, its value read as YAML. --model takes ClickPrompt, ClickPromptNoPLM, or
the name of a backbone to train that alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recbole.quick_start import run

from recbole_clickprompt.commands.options import add_run_arguments, parse_run
from recbole_clickprompt.errors import SettingError

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's own flags."""
    add_run_arguments(parser)
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    parser.add_argument("--ip", default="localhost", help="address of the first machine")
    parser.add_argument("--port", default="5678", help="its port")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Runs training and testing; results go to RecBole's log."""
    if options.nproc > 1 or options.world_size > 1:
        raise SettingError("training in several processes is not supported; run with --nproc=1")
    described = parse_run(options, settings)
    run(
        *described,
        nproc=options.nproc,
        world_size=options.world_size,
        ip=options.ip,
        port=options.port,
        group_offset=options.group_offset,
    )

"""The front door: ``recbole-cp COMMAND`` or ``python -m recbole_clickprompt COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recbole_clickprompt.commands import (
    attention,
    export,
    from_table,
    grid,
    latency,
    long_tail,
    metrics,
    predict,
    prepare,
    report,
    run,
    show,
    tune,
)
from recbole_clickprompt.errors import ClickPromptError

__all__ = ["main"]

_COMMANDS = {
    "attention": attention,
    "export": export,
    "from-table": from_table,
    "grid": grid,
    "latency": latency,
    "long-tail": long_tail,
    "metrics": metrics,
    "predict": predict,
    "prepare": prepare,
    "report": report,
    "run": run,
    "show": show,
    "tune": tune,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Without the program's name; None takes those of the process.

    Returns:
        Exit code: 0, or 2 for what the user can put right, told in one line.
    """
    parser = argparse.ArgumentParser(prog="recbole-cp", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        text = module.__doc__ or ""
        command = commands.add_parser(
            name, help=text.splitlines()[0], description=text, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.add_arguments(command)
    options, settings = parser.parse_known_args(arguments)
    # RecBole reads the command line of the process by itself; it has been read here
    sys.argv = sys.argv[:1]
    try:
        _COMMANDS[options.command].execute(options, settings)
    except ClickPromptError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line: ``recbole-cp COMMAND`` or ``python -m recbole_clickprompt COMMAND``."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from recbole_clickprompt.errors import UserError

__all__ = ["COMMANDS", "command_module", "main"]

# Name of each command: its module in recbole_clickprompt.commands
COMMANDS = {
    "attention": "attention",
    "compare": "compare",
    "data": "data",
    "distill": "distill",
    "export": "export",
    "from-table": "from_table",
    "grid": "grid",
    "latency": "latency",
    "long-tail": "long_tail",
    "metrics": "metrics",
    "predict": "predict",
    "prepare": "prepare",
    "publish": "publish",
    "report": "report",
    "run": "run",
    "runs": "run_folders",
    "serve": "serve",
    "show": "show",
    "teach": "teach",
    "tune": "tune",
}
_WITHOUT_RECBOLE = {"from-table", "long-tail", "metrics", "prepare", "runs"}

# Errors if a file exists where a folder is needed, such as RecBole's log/
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}
# Errors of full disks, of files that are not readable or writable, and of impossible names
_FILES = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG,
    errno.EISDIR, errno.ELOOP,
}  # fmt: skip
_BROKEN_PIPE = 141  # as if SIGPIPE had ended the process
_LONGEST_MESSAGE = 1500  # characters; a value that the user gave may have millions


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in a message of bounded length."""

    def error(self, message: str) -> NoReturn:
        super().error(_shortened(message))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0; 2 for errors that the user can fix, which are printed in one line; 130 after Ctrl-C; 141
        if what reads the output ends first. A training run that receives SIGTERM exits with 143.
    """
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would try to write the rest when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _run(arguments: Sequence[str] | None) -> int:
    options, settings = _parse(sys.argv[1:] if arguments is None else arguments)
    # RecBole reads sys.argv itself, but the arguments have been parsed here
    sys.argv = sys.argv[:1]
    try:
        if options.command not in _WITHOUT_RECBOLE:
            from recbole_clickprompt.host.registration import register

            register()
        command_module(options.command).execute(options, settings)
    except UserError as error:
        return _fail(str(error), 2)
    except OSError as error:
        if error.errno not in _FILES | _NO_FOLDER:
            raise
        message = f"{error.filename or 'a file'}: {error.strerror}"
        if error.errno in _NO_FOLDER:
            message += "; a file exists where a folder is needed: move it, or run in another folder"
        return _fail(message, 2)
    except (NotImplementedError, ValueError) as error:
        if not _is_refusal(error):
            raise
        return _fail(f"RecBole rejects this: {error}", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; a run whose state was saved resumes with --resume=auto", 130)
    return 0


def command_module(name: str) -> Any:
    """The module of a command, with ``add_arguments`` and ``execute``."""
    return importlib.import_module(f"recbole_clickprompt.commands.{COMMANDS[name]}")


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(prog="recbole-cp", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = [name for name in arguments[:1] if name in COMMANDS]
    for name in chosen or COMMANDS:
        module = command_module(name)
        command = commands.add_parser(
            name, help=module.__doc__.splitlines()[0], description=module.__doc__, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if chosen:
            module.add_arguments(command)
    return parser.parse_known_args(arguments)


def _is_refusal(error: Exception) -> bool:
    """Whether the error was raised directly by RecBole's code for settings or data, not by a library it calls."""
    code = list(traceback.walk_tb(error.__traceback__))[-1][0].f_globals.get("__name__", "")
    return code.startswith(("recbole.config", "recbole.data"))


def _fail(message: str, code: int) -> int:
    print(f"error: {_shortened(message)}", file=sys.stderr)
    return code


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[: _LONGEST_MESSAGE - 500]} ... {line[-500:]}"


if __name__ == "__main__":
    sys.exit(main())

"""Checks of command-line arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from recbole_clickprompt.errors import SettingError

__all__ = ["add_cache", "add_rows", "cache_options", "check_minimum", "reject_settings"]


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Where vectors of unseen texts are kept, for models that encode them one by one."""
    cache = parser.add_argument_group("models that encode the texts of unseen users and items")
    cache.add_argument(
        "--cache-items", type=int, metavar="N",
        help="vectors of users and of items in memory; 0 keeps none (default: 100000)",
    )  # fmt: skip
    cache.add_argument("--cache-ttl", type=float, metavar="SECONDS", help="age of a vector (default: any)")
    cache.add_argument("--redis-url", metavar="URL", help="vectors that processes share: redis://localhost:6379/0")


def cache_options(options: argparse.Namespace) -> dict[str, Any]:
    """The values of ``add_cache``, as arguments of ``load_model``."""
    return {name: getattr(options, name) for name in ("cache_items", "cache_ttl", "redis_url")}


def add_rows(parser: argparse.ArgumentParser, default: int) -> None:
    """``--rows``, the first rows of a part, by default so many; or ``--row``, some rows by their number."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--rows", type=int, default=default, metavar="N", help="the first N rows (default: %(default)s)"
    )
    which.add_argument(
        "--row", type=int, action="append", metavar="I",
        help="this row, counted from 0 as in predictions.parquet; may be repeated",
    )  # fmt: skip


def reject_settings(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Refuses arguments that the parser did not recognize, for commands that take no ``--key=value`` settings.

    Raises:
        SettingError: There is one; names the first.
    """
    if settings:
        raise SettingError(f"unrecognized argument {settings[0]}; see recbole-cp {options.command} --help")


def check_minimum(options: argparse.Namespace, minimum: int, *names: str) -> None:
    """Refuses options that are too small; None is not checked, and of a list every number is.

    Args:
        options: Parsed arguments.
        minimum: The smallest value allowed.
        names: Attributes of ``options``.

    Raises:
        SettingError: A value is below ``minimum``; names the option.
    """
    for name in names:
        value = getattr(options, name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if any(number < minimum for number in values):
            raise SettingError(f"--{name.replace('_', '-')} must be {minimum} or more, got {value}")

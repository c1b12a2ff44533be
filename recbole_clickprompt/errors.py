"""Errors that the user can fix: one clear line, and exit code 2 on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "SettingError",
    "StorageError",
    "TrainingError",
    "UserError",
    "WeightsError",
    "nearest",
]


class UserError(ValueError):
    """Invalid input; the message names it, what was expected, what was found and what to do."""


class SettingError(UserError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(UserError):
    """A data set or file of data that cannot be used."""


class WeightsError(UserError):
    """PLM weights, a tokenizer or a checkpoint that is missing, foreign or damaged."""


class StorageError(UserError):
    """A file that cannot be written: the disk is full, or the folder is not writable."""


class TrainingError(UserError):
    """Training cannot continue, for example because the loss is NaN."""


def _is_text(name: object) -> bool:
    return isinstance(name, str) and len(name) < 200


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean X?"`` for the most similar known name, ignoring case, or an empty string."""
    by_lower_case = {candidate.lower(): candidate for candidate in sorted(filter(_is_text, known))}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1) if _is_text(name) else []
    return f"; did you mean {by_lower_case[close[0]]}?" if close else ""

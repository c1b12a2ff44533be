"""What a user can put right: one clear line, and exit code 2 at the command line."""

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
    """Bad input; the message says what, what was expected, what came and what to do."""


class SettingError(UserError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(UserError):
    """A data set that cannot be trained on as it stands."""


class WeightsError(UserError):
    """PLM weights, tokenizer or a checkpoint that are missing, foreign or damaged."""


class StorageError(UserError):
    """A file that cannot be written: the disk is full, or the folder takes no files."""


class TrainingError(UserError):
    """A training that cannot go on, such as one whose loss is no longer a number."""


def _is_text(name: object) -> bool:
    return isinstance(name, str) and len(name) < 200


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean X?"`` for the closest known name, whatever its case, or an empty string."""
    by_lower_case = {candidate.lower(): candidate for candidate in sorted(filter(_is_text, known))}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1) if _is_text(name) else []
    return f"; did you mean {by_lower_case[close[0]]}?" if close else ""

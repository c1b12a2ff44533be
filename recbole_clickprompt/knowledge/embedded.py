"""Finds files of knowledge: those of the user, and those that the package ships."""

from __future__ import annotations

import os
from pathlib import Path

from recbole_clickprompt.errors import DataError, nearest

__all__ = ["find_knowledge", "shipped_names"]

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDER = Path("props") / "knowledge"


def _folders() -> list[Path]:
    # In the working folder, in a wheel, in a checkout
    return [_FOLDER, _PACKAGE / _FOLDER, _PACKAGE.parent / _FOLDER]


def shipped_names() -> list[str]:
    """Names of the files in ``props/knowledge``, such as ``ml-100k-items``."""
    return sorted({file.stem for folder in _folders() for file in folder.glob("*.jsonl")})


def find_knowledge(name: str) -> Path:
    """The file of a path or of a shipped name.

    Args:
        name: A path, or a name such as ``ml-100k-items``.

    Raises:
        DataError: There is neither a file at this path nor a shipped one of this name.
    """
    if os.path.isfile(name):
        return Path(name)
    if name and "/" not in name and "\0" not in name:
        # Path.is_file raises for names that are too long for the file system
        for folder in _folders():
            if os.path.isfile(folder / f"{name}.jsonl"):
                return folder / f"{name}.jsonl"
    known = shipped_names()
    raise DataError(
        f"there is no knowledge file {name!r:.200}, neither at this path nor among the shipped ones"
        f"{nearest(name, known)}; shipped are {', '.join(known)}"
    )

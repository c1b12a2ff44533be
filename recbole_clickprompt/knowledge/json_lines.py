"""Files with a JSON object per line: objects with the names of their lines, for messages."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_clickprompt.errors import DataError

__all__ = ["is_object", "objects", "objects_of_lines"]


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, each with the name of its line for messages; empty lines are skipped.

    Raises:
        DataError: The file cannot be read, or a line is not a JSON object.
    """
    try:
        with path.open("rb") as stream:
            yield from objects_of_lines(stream, str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def is_object(line: bytes) -> bool:
    """Whether a line is a whole JSON object."""
    try:
        _object(line, "")
    except DataError:
        return False
    return True


def objects_of_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """As ``objects``, of lines with their ends; ``name`` is the file's, for messages."""
    for number, line in enumerate(lines, 1):
        if line.removeprefix(codecs.BOM_UTF8).strip():
            yield f"{name}, line {number}", _object(line, f"{name}, line {number}")


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_without_duplicates)
        if b"\\u" in line:
            json.dumps(content, ensure_ascii=False).encode()  # raises for lone surrogates, which no file can hold
    except (ValueError, RecursionError) as error:
        torn = "" if line.endswith(b"\n") else "; it is cut off: remove it, or run recbole-cp teach again"
        raise DataError(
            f"{where}: not a JSON object in UTF-8 ({str(error).splitlines()[0]:.100}){torn}"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected is a JSON object, got {str(content)[:40]!r}")
    return content


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r:.60} occurs twice")
    return content

"""Learning curves of a run: a file of one JSON object per epoch, which several processes may write.

Each has ``stage``, ``epoch``, counted from 0, and the metrics of that epoch.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_clickprompt.files import locked, warn_once, write_text, write_whole

__all__ = ["append_epoch", "change_epochs", "history_beside", "read_epochs", "write_epochs"]


def history_beside(checkpoint: Path) -> Path:
    """Where the epochs of a pretraining checkpoint are kept."""
    return checkpoint.with_name(f"{checkpoint.stem}.history.jsonl")


def append_epoch(file: Path, epoch: Mapping[str, Any]) -> None:
    """Adds an epoch to a history; those of its stage from the same number on, of a training since repeated, go."""
    change_epochs(
        file,
        lambda lines: [
            *(line for line in lines if line["stage"] != epoch["stage"] or line["epoch"] < epoch["epoch"]),
            epoch,
        ],
    )


def change_epochs(file: Path, change: Callable[[list[dict[str, Any]]], Iterable[Mapping[str, Any]]]) -> None:
    """Rewrites a history while no other process does.

    A damaged one is kept under another name, and a warning says so.

    Args:
        file: The history.
        change: Gives the new lines for those that are there.

    Raises:
        StorageError: It cannot be written.
    """
    with locked(file):
        lines, damage = _parse(file)
        if damage:
            kept = _free_name(file.with_name(f"{file.name}.damaged"))
            write_whole(kept, lambda partial: shutil.copyfile(file, partial))
            warn_once(file.resolve(), f"{damage}; the damaged file is kept as {kept.name}")
        write_epochs(file, change(lines))


def read_epochs(file: Path) -> list[dict[str, Any]]:
    """The epochs of a history; none if there is no such file. A warning tells of lines that cannot be read."""
    lines, damage = _parse(file)
    if damage:
        warn_once(file.resolve(), damage)
    return lines


def write_epochs(file: Path, epochs: Iterable[Mapping[str, Any]]) -> None:
    """Writes a whole history."""
    text = "".join(f"{json.dumps(dict(epoch))}\n" for epoch in epochs)
    write_text(file, text)


def _parse(file: Path) -> tuple[list[dict[str, Any]], str]:
    """The lines of a history that are whole, and in words how many are not; empty if all are."""
    written = [line for line in file.read_bytes().splitlines() if line.strip()] if file.is_file() else []
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in written:
        try:
            epoch = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_epoch(epoch):
            found[epoch["stage"], epoch["epoch"]] = epoch  # one trained again takes the place of the one before
    lost = len(written) - len(found)
    if not lost:
        return list(found.values()), ""
    what = f"{lost} of {len(written)} lines {'is' if lost == 1 else 'are'} damaged or"
    what += " repeats an epoch, and is left out" if lost == 1 else " repeat an epoch, and are left out"
    return list(found.values()), f"{file}: {what}"


def _is_epoch(line: Any) -> bool:
    if not isinstance(line, dict):
        return False
    figures = [value for name, value in line.items() if name != "stage"]
    return (
        isinstance(line.get("stage"), str)
        and type(line.get("epoch")) is int
        # No float has more digits, and true and false are no figures
        and all(value is None or type(value) is float or _is_count(value) for value in figures)
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 53


def _free_name(path: Path) -> Path:
    names = itertools.chain([path], (path.with_name(f"{path.name}-{number}") for number in itertools.count(2)))
    return next(name for name in names if not name.exists())

"""Learning curves of a run: a file with one JSON object per epoch, which several processes may write.

Each object has ``stage``, ``epoch`` (from 0), and the metrics of that epoch.
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
    """The path of the learning curves of a pretraining checkpoint."""
    return checkpoint.with_name(f"{checkpoint.stem}.history.jsonl")


def append_epoch(file: Path, epoch: Mapping[str, Any]) -> None:
    """Adds an epoch to a history.

    Epochs of the same stage with the same or a higher number are removed: they are of a training run that was
    repeated.
    """
    change_epochs(
        file,
        lambda lines: [
            *(line for line in lines if line["stage"] != epoch["stage"] or line["epoch"] < epoch["epoch"]),
            epoch,
        ],
    )


def change_epochs(file: Path, change: Callable[[list[dict[str, Any]]], Iterable[Mapping[str, Any]]]) -> None:
    """Rewrites a history while other processes wait.

    A damaged file is kept under another name, which a warning reports.

    Args:
        file: The history.
        change: Maps the current lines to the new ones.

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
    """The epochs of a history, empty if there is no such file; a warning reports lines that cannot be read."""
    lines, damage = _parse(file)
    if damage:
        warn_once(file.resolve(), damage)
    return lines


def write_epochs(file: Path, epochs: Iterable[Mapping[str, Any]]) -> None:
    """Writes a history, replacing the file as a whole."""
    text = "".join(f"{json.dumps(dict(epoch))}\n" for epoch in epochs)
    write_text(file, text)


def _parse(file: Path) -> tuple[list[dict[str, Any]], str]:
    """The valid lines of a history, and a message about the others, which is empty if there are none."""
    written = [line for line in file.read_bytes().splitlines() if line.strip()] if file.is_file() else []
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in written:
        try:
            epoch = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_epoch(epoch):
            found[epoch["stage"], epoch["epoch"]] = epoch  # a repeated epoch replaces the earlier one
    lost = len(written) - len(found)
    if not lost:
        return list(found.values()), ""
    damage = f"{lost} of {len(written)} lines {'is' if lost == 1 else 'are'} damaged or"
    damage += " repeats an epoch, and is left out" if lost == 1 else " repeat an epoch, and are left out"
    return list(found.values()), f"{file}: {damage}"


def _is_epoch(line: object) -> bool:
    if not isinstance(line, dict):
        return False
    metrics = [value for name, value in line.items() if name != "stage"]
    return (
        isinstance(line.get("stage"), str)
        and type(line.get("epoch")) is int
        # bool is a subclass of int, and larger integers do not fit into a float
        and all(value is None or type(value) is float or _is_exact_integer(value) for value in metrics)
    )


def _is_exact_integer(value: object) -> bool:
    return type(value) is int and abs(value) < 1 << 53


def _free_name(path: Path) -> Path:
    names = itertools.chain([path], (path.with_name(f"{path.name}-{number}") for number in itertools.count(2)))
    return next(name for name in names if not name.exists())

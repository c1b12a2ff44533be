"""``run.json`` of a run folder: model, settings, command and result of a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.value_checks import short_repr
from recbole_clickprompt.evaluation.word_tables import read_word_tables
from recbole_clickprompt.files import write_text
from recbole_clickprompt.settings.old_names import settings_of_saved_run

__all__ = ["INFO_FILE", "read_info", "write_info"]

INFO_FILE = "run.json"
# Key: type, and the type in words
_TYPES: dict[str, tuple[type, str]] = {
    "model": (str, "a text"),
    "dataset": (str, "a text"),
    "backbone": (str, "a text"),
    "seed": (int, "a whole number"),
    "settings": (dict, "a mapping"),
    "command": (list, "a list of texts"),
}


def read_info(file: Path) -> dict[str, Any]:
    """The content of a ``run.json``; settings of earlier versions get their current names.

    Raises:
        DataError: The file is damaged, or a value is missing or has the wrong type.
    """
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}") from error
    for key in ("checkpoint", "train_counts"):
        name = info.get(key) if isinstance(info, dict) else None
        if not name or not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"{file}: {key} must be the name of a file of this run, without a path, got {name!r}")
    if isinstance(settings := info.get("settings"), dict):
        info["settings"] = settings_of_saved_run(settings)
    if not isinstance(info.get("title"), str | None):
        got = short_repr(info["title"])
        raise DataError(f"{file}: title must be a text, got {got}; restore the file or train again")
    for key, (kind, expected) in _TYPES.items():
        value = info.get(key)
        only_texts = not isinstance(value, list) or all(isinstance(part, str) for part in value)
        if not isinstance(value, kind) or isinstance(value, bool) or not only_texts:
            got = short_repr(value) if key in info else "nothing"
            raise DataError(f"{file}: {key} must be {expected}, got {got}; restore the file or train again")
    if not _are_baselines(info.setdefault("baselines", {})):  # runs of earlier versions have none
        got = short_repr(info["baselines"])
        raise DataError(
            f"{file}: baselines must be metrics by baseline and split, got {got}; restore the file or train again"
        )
    read_word_tables(info.setdefault("tables", []), file)
    return info


def _are_baselines(value: object) -> bool:
    """Whether a value has the structure of ``evaluation.baselines.Baselines``."""
    return isinstance(value, dict) and all(
        isinstance(splits, dict)
        and all(
            isinstance(metrics, dict)
            and {"auc", "logloss"} <= metrics.keys()
            and all(isinstance(number, int | float) for number in metrics.values())
            for metrics in splits.values()
        )
        for splits in value.values()
    )


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Writes ``run.json``, which marks the run folder as complete."""
    text = json.dumps(dict(info), indent=1, ensure_ascii=False, default=str)
    write_text(folder / INFO_FILE, f"{text}\n")

"""Reads the checkpoint that a warm start continues from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.plm.weights import find_plm, kept_plm, text_files_hash, weights_hash
from recbole_clickprompt.preprocessing.checksums import sha256_of
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.settings.old_names import settings_of_saved_run
from recbole_clickprompt.settings.registry import declared
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.checkpoint import read_model
from recbole_clickprompt.trainer.file_kinds import FINETUNED, PRETRAINED, kind_of
from recbole_clickprompt.trainer.pretrained_checkpoint import read_inputs, read_stage

__all__ = ["FINETUNE", "SavedRun", "check_same_meaning", "read_saved_run", "structural_differences"]

FINETUNE = "finetune"
# What inputs and labels mean; another value would make the saved weights those of another task
_MEANING = (
    "backbone", "plm", "student", "threshold", "numerical_features", "normalize_field", "normalize_all",
    "discretization", "log_scale_fields", "USER_ID_FIELD", "ITEM_ID_FIELD", "LABEL_FIELD",
)  # fmt: skip
_PLMS = ("plm", "student")
# Groups of settings that determine neither the shape of a weight nor the meaning of an input, but for the
# objectives, each of which has weights of its own
_OBJECTIVES = "pretrain_objectives"
_OTHER_GROUPS = ("Training", "Pretraining", "Evaluation", "Output", "Data", "Experimental")
_MOST_NAMED = 5


class SavedRun(NamedTuple):
    """A checkpoint to continue from.

    Attributes:
        path: Its file.
        stage: ``finetune``, or the name of the earlier stage whose result it is.
        settings: Those of its run that its weights depend on.
        weights: By name.
        encoding: Of its data set; None if no weight depends on it, or an earlier version wrote the file.
        optimizer: The state of the optimizer; None in results of earlier stages.
        checksum: SHA-256 of the file.
    """

    path: Path
    stage: str
    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    encoding: Encoding | None
    optimizer: Mapping[str, Any] | None
    checksum: str


def read_saved_run(path: Path) -> SavedRun:
    """Reads the file of a finetuned model or the result of an earlier stage.

    Raises:
        WeightsError: It is missing or damaged, or a file of another kind: the message says of which.
    """
    kind = kind_of(path)
    if kind not in (FINETUNED, PRETRAINED):
        raise WeightsError(
            f"warm_start: {path} is {kind.words}; expected {FINETUNED.words}, its run folder, or "
            f"{PRETRAINED.words}; {kind.advice}"
        )
    checksum = sha256_of(path)
    if kind is PRETRAINED:
        stage, weights, encoding = read_stage(path)
        if not stage:
            raise WeightsError(f"warm_start: {path} was written by an earlier version; train it again")
        settings = settings_of_saved_run(read_inputs(path)["settings"])
        return SavedRun(path, stage, settings, weights, encoding, None, checksum)
    saved = read_model(path)
    try:
        encoding = Encoding.unpack(*saved["encoding"]) if "encoding" in saved else None
    except TypeError as error:
        raise WeightsError(f"warm_start: {path} is damaged: its encoding is not that of a data set") from error
    settings = settings_of_saved_run(saved["config"])
    optimizer = saved.get("optimizer")
    return SavedRun(path, FINETUNE, settings, saved["state_dict"], encoding, optimizer, checksum)


def check_same_meaning(saved: SavedRun, config: Settings) -> None:
    """Checks the settings that determine what inputs and labels are.

    Raises:
        SettingError: One of them differs; names it, the saved and the given value.
    """
    for name in _MEANING:
        if name not in saved.settings or name not in config:
            continue
        old, new = saved.settings[name], config[name]
        if _plain(old) != _plain(new) and not (name in _PLMS and _is_same_plm(old, new)):
            raise SettingError(
                f"warm_start: {saved.path} was trained with {name}: {old!r}, and this run has {new!r}; use the "
                "saved value, or train without warm_start"
            )


def structural_differences(saved: Mapping[str, Any], config: Settings) -> list[str]:
    """Settings with another value that may explain why weights do not fit, such as ``embedding_size``."""
    settings = declared()
    different = [
        f"{name} (saved {saved[name]!r}, now {config[name]!r})"
        for name in sorted(saved)
        if name in settings
        and (settings[name].group not in _OTHER_GROUPS or name == _OBJECTIVES)
        and settings[name].stage != "none"
        and _plain(saved[name]) != _plain(config[name])
    ]
    return different[:_MOST_NAMED]


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _is_same_plm(old: Any, new: Any) -> bool:
    """Whether two names stand for equal files, such as those of a folder that was moved."""
    try:
        folders = find_plm(kept_plm(str(old))), find_plm(str(new))
    except WeightsError:
        return False
    return len({(weights_hash(folder), text_files_hash(folder)) for folder in folders}) == 1

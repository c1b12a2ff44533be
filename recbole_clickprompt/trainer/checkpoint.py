"""Checkpoint files of tensors and plain values: written whole or not at all, checked before they are read."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path
from typing import Any

import torch

from recbole_clickprompt import ranks
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.files import write_whole

__all__ = ["check_writable", "read_checkpoint", "read_model", "save_model", "write_checkpoint"]

_RECOVER = "restore it from a copy, or delete it and start without it"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a file of nested dicts, lists, plain values and tensors; raises as ``write_whole``."""

    def write(partial: Path) -> None:
        # Through a stream of ours, or torch would hide what the system said. RecBole's pickle protocol 4 is what
        # torch's safe reader refuses; the default is what it reads.
        with partial.open("wb") as stream:
            torch.save(state, stream)

    write_whole(path, write)


def read_checkpoint(path: Path, *, kind: str, device: Any = "cpu") -> dict[str, Any]:
    """What ``write_checkpoint`` wrote, after a check of every byte; nothing in it is ever run.

    Args:
        path: The file.
        kind: What it should be, for the error.
        device: Where the tensors go.

    Raises:
        WeightsError: It is missing, truncated or changed, or holds anything else than plain values and tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; expected {kind}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch writes checksums and never looks at them
    except Exception as error:  # zipfile raises whatever a damaged field leads it to
        raise WeightsError(f"{path} is damaged or foreign, expected {kind}: {error}; {_RECOVER}") from error
    if damaged is not None:
        raise WeightsError(f"{path} is damaged, expected {kind}: its part {damaged} has changed; {_RECOVER}")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"{path} is not {kind}: it holds more than tensors and plain values, none of which was run ({reason})"
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} is not {kind}: it holds a {type(state).__name__}")
    return state


def read_model(path: Path, *, device: Any = "cpu") -> dict[str, Any]:
    """A finetuned model's file, RecBole's keys: ``config``, ``state_dict``, ``optimizer`` and so on.

    Raises:
        WeightsError: As for ``read_checkpoint``.
    """
    state = read_checkpoint(path, kind="a model saved by RecBole or ClickPrompt", device=device)
    missing = [key for key in ("config", "state_dict") if key not in state]
    if missing:
        raise WeightsError(
            f"{path} is no model saved by RecBole or ClickPrompt: {' and '.join(missing)} is not in it"
        )
    return state


def save_model(trainer: Any, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
    """Writes RecBole's checkpoint, whole or not at all, and such that ``torch.load`` reads it safely."""
    path = kwargs.pop("saved_model_file", trainer.saved_model_file)
    config = copy.copy(trainer.config)
    config.model_class = None  # a class of ours would have to be trusted when it is read
    state = {
        "config": config,
        "epoch": epoch,
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "state_dict": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    if ranks.current().main:
        write_checkpoint(Path(path), state)
    ranks.current().wait()
    if verbose:
        trainer.logger.info(f"Saving current: {path}")


def check_writable(folder: Path) -> None:
    """Tells before the training, and not behind it, that a folder takes no files.

    Raises:
        StorageError: It does not.
    """
    probe = folder / ".writable"
    write_whole(probe, lambda partial: partial.touch())
    probe.unlink(missing_ok=True)

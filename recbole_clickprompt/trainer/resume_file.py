"""The file with the state of an unfinished training run."""

from __future__ import annotations

import glob
import json
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.files import remove_tables
from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.evaluation.run_folder import folder_of
from recbole_clickprompt.evaluation.run_info import INFO_FILE
from recbole_clickprompt.files import is_alive
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.checkpoint import read_checkpoint, write_with_tables
from recbole_clickprompt.trainer.file_kinds import OTHER_TORCH, UNFINISHED, refuse_other_kinds
from recbole_clickprompt.trainer.fingerprint import differences
from recbole_clickprompt.trainer.resume_schema import fault_of_state
from recbole_clickprompt.trainer.stage import TrainingStage

__all__ = ["load_resume_state", "remove_checkpoint", "save_resume_state", "superseded_checkpoint"]

_FORMAT = "clickprompt-resume-2"  # version 1 had other parameter groups in its optimizer
_KEYS = {"stage", "inputs", "random"}  # those that are read in this module
# Errors of content that is not as written; an overflow is that of an impossible process number
_DAMAGE = (TypeError, ValueError, KeyError, AttributeError, RecursionError, OverflowError)
_KIND = "the state of an unfinished training run of ClickPrompt"


def load_resume_state(
    config: Settings, default: Path, *, stage: str, inputs: dict[str, Any], allowed: Collection[str]
) -> tuple[Path, dict[str, Any] | None]:
    """Finds the state file of a stage, and the state to resume from.

    Args:
        config: Settings of the run; ``resume`` is None, ``auto`` or a path.
        default: The file for these inputs.
        stage: The name of the stage.
        inputs: Everything that determines the stage.
        allowed: The stages of this run.

    Returns:
        The file to save to, and the state to resume from, or None to start the stage from the beginning.

    Raises:
        WeightsError: The file to resume from is missing, damaged or foreign.
        SettingError: It belongs to another stage or to different settings; says which.
    """
    resume = config["resume"]
    if resume is None:
        return default, None
    if resume == "auto" and not distributed.current().broadcast_object(default.exists()):
        if distributed.current().is_main:
            _report_other_states(default, inputs)
        return default, None
    path = default if resume == "auto" else Path(resume)
    state = read_checkpoint(path, kind=_KIND)
    if state.get("format") != _FORMAT or _KEYS - state.keys():
        refuse_other_kinds(path, UNFINISHED, OTHER_TORCH, expected=_KIND)
        got = state.get("format") or "something else"
        raise WeightsError(
            f"{path} is not {_KIND} ({_FORMAT}), but {got}; leave out --resume to start over, or resume with the "
            "version that wrote it"
        )
    if not isinstance(state["stage"], str):
        raise WeightsError(f"{path} is damaged: its stage is {state['stage']!r:.60}, expected a name")
    if state["stage"] not in allowed:
        raise SettingError(
            f"resume: {path} belongs to the stage {state['stage']}, which this run does not include; set "
            f"train_stage to all or {state['stage']}"
        )
    if state["stage"] != stage:
        return default, None
    _check_same_run(path, state, inputs)
    if fault := fault_of_state(state, device=config["device"]):
        raise WeightsError(
            f"{path} is damaged, or the state of another training: {fault}; leave out --resume to start over"
        )
    return path, state


def _report_other_states(default: Path, inputs: dict[str, Any]) -> None:
    """Logs one line if the folder has states of the same stage and data set, but of other settings."""
    label = default.stem.rpartition("-")[0]
    others = [path for path in default.parent.glob(f"{glob.escape(label)}-*.resume") if path.is_file()]
    if not others:
        return
    newest = max(others, key=lambda path: path.stat().st_mtime)
    try:
        differing = differences(inputs, json.loads(read_checkpoint(newest, kind=_KIND)["inputs"]))
        reason = f"{', '.join(differing[:5])} differ"
    except (WeightsError, *_DAMAGE) as error:
        reason = str(error) if isinstance(error, WeightsError) else "it is damaged"
    more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
    getLogger().warning(
        f"resume: no state with these settings, so the stage starts from the beginning; {newest}{more} is not "
        f"used: {reason}"
    )


def _check_same_run(path: Path, state: dict[str, Any], inputs: dict[str, Any]) -> None:
    try:
        differing = differences(inputs, json.loads(state["inputs"]))
    except _DAMAGE as error:
        raise WeightsError(f"{path} is damaged: the inputs of its run cannot be read") from error
    if differing:
        raise SettingError(
            f"resume: {path} belongs to another run: {', '.join(differing[:5])} differ; use the settings of that "
            "run, or leave out --resume to start over"
        )
    if not isinstance(state["random"], list):
        raise WeightsError(f"{path} is damaged: its random states are no list; leave out --resume to start over")
    world, saved_world = distributed.current().world, len(state["random"])
    if world != saved_world:
        raise SettingError(
            f"resume: {path} was saved by {saved_world} processes and this run has {world}; start {saved_world}"
        )


def save_resume_state(
    path: Path, stage: TrainingStage, *, inputs: dict[str, Any], snapshot: dict[str, Any]
) -> None:
    """Writes the state that ``load_resume_state`` reads.

    Args:
        path: The file.
        stage: The stage; its weights, which are equal on all ranks, optimizer and schedule are saved.
        inputs: Everything that determines the stage.
        snapshot: The rest of the state; ``random`` has one entry per rank.

    Raises:
        StorageError: As for ``write_whole``.
    """
    state = {
        "format": _FORMAT,
        "stage": stage.name,
        "inputs": json.dumps(inputs),
        "model": stage.model.state_dict(),
        "optimizer": stage.optimizer.state_dict(),
        "scheduler": stage.scheduler.state_dict(),
        "process": (socket.gethostname(), os.getpid()),
        **snapshot,
    }
    write_with_tables(path, state, stage.model)


def superseded_checkpoint(path: Path) -> Path | None:
    """The best model of a killed run that only its state names, which is about to be replaced.

    Args:
        path: The state file.

    Returns:
        The ``.pth`` file; None if there is none, if the process that wrote the state may still run, or if the run
        has finished.
    """
    try:
        state = read_checkpoint(path, kind=_KIND)
        (host, process), name = state["process"], state["own"]["saved_model_file"]
        if host != socket.gethostname() or is_alive(process) or Path(name).name != name:
            return None
    except (WeightsError, *_DAMAGE):  # also states of pretraining, and of earlier versions
        return None
    best = path.with_name(name)
    return (
        best if best.suffix == ".pth" and best.is_file() and not (folder_of(best) / INFO_FILE).exists() else None
    )


def remove_checkpoint(checkpoint: Path) -> None:
    """Removes a result of ``superseded_checkpoint`` with the learning curves of its run, and logs one line."""
    folder = folder_of(checkpoint)
    checkpoint.unlink(missing_ok=True)
    remove_tables(checkpoint)
    (folder / "history.jsonl").unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or there is none
        folder.rmdir()
    getLogger().warning(f"removed {checkpoint}, the best model of a killed run that this run replaces")

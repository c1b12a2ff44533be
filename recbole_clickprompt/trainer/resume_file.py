"""The file in which a training is kept while it is unfinished."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.trainer.checkpoint import read_checkpoint, write_checkpoint
from recbole_clickprompt.trainer.fingerprint import differences
from recbole_clickprompt.trainer.resume_schema import fault_of_state
from recbole_clickprompt.trainer.stage import TrainingStage

__all__ = ["load_resume_state", "save_resume_state"]

_FORMAT = "clickprompt-resume-2"  # 1 had other groups of weights in its optimiser
_KEYS = {"stage", "inputs", "random"}  # what is read here
_KIND = "the state of an unfinished training of ClickPrompt"


def load_resume_state(
    config: Any, own: Path, *, stage: str, inputs: dict[str, Any], allowed: Collection[str]
) -> tuple[Path, dict[str, Any] | None]:
    """Where a stage keeps its state, and the state to go on from.

    Args:
        config: Its ``resume`` is None, ``auto`` or a path.
        own: The file of these inputs.
        stage: The stage that asks.
        inputs: All that determines the stage.
        allowed: The stages that this run has.

    Returns:
        The file, and what is in it, or None for a stage that begins.

    Raises:
        WeightsError: A file that should be gone on from is missing, damaged or foreign.
        SettingError: It is of another stage or of other settings; says which.
    """
    resume = config["resume"]
    if resume is None or (resume == "auto" and not distributed.current().broadcast_object(own.exists())):
        return own, None
    path = own if resume == "auto" else Path(resume)
    state = read_checkpoint(path, kind=_KIND)
    if state.get("format") != _FORMAT or _KEYS - state.keys():
        got = state.get("format") or "something else"
        raise WeightsError(
            f"{path} is not {_KIND} ({_FORMAT}), but {got}; leave out --resume to start over, or go on with the "
            "version that made it"
        )
    if not isinstance(state["stage"], str):
        raise WeightsError(f"{path} is damaged: its stage is {state['stage']!r:.60}, expected a name")
    if state["stage"] not in allowed:
        raise SettingError(
            f"resume: {path} is of the stage {state['stage']}, which this run leaves out; set train_stage to all "
            f"or {state['stage']}"
        )
    if state["stage"] != stage:
        return own, None
    _check_same_run(path, state, inputs)
    if fault := fault_of_state(state, device=config["device"]):
        raise WeightsError(
            f"{path} is damaged, or the state of another training: {fault}; leave out --resume to start over"
        )
    return path, state


def _check_same_run(path: Path, state: dict[str, Any], inputs: dict[str, Any]) -> None:
    try:
        theirs = json.loads(state["inputs"])
        differing = differences(inputs, theirs)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: it does not say what it is the state of") from error
    if differing:
        raise SettingError(
            f"resume: {path} is of another run: {', '.join(differing[:5])} differ; give the settings it was "
            "made with, or leave out --resume to start over"
        )
    if not isinstance(state["random"], list):
        raise WeightsError(f"{path} is damaged: its random states are no list; leave out --resume to start over")
    here, there = distributed.current().world, len(state["random"])
    if here != there:
        raise SettingError(
            f"resume: {path} is of {there} processes and this run has {here}; start it with {there}"
        )


def save_resume_state(path: Path, stage: TrainingStage, *, inputs: dict[str, Any], point: dict[str, Any]) -> None:
    """Writes what ``load_resume_state`` finds.

    Args:
        path: The file.
        stage: Its weights, which are the same on every rank, its optimiser and its schedule are kept.
        inputs: All that determines the stage.
        point: What else there is to know about the place where it stands; ``random`` has one entry a rank.

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
        **point,
    }
    if distributed.current().is_main:
        write_checkpoint(path, state)

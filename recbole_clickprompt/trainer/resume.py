"""The state of a training, kept in a file so that it goes on, after whatever ended it, as if nothing had been."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from recbole_clickprompt import ranks
from recbole_clickprompt.errors import SettingError, TrainingError, WeightsError
from recbole_clickprompt.trainer.checkpoint import read_checkpoint, write_checkpoint
from recbole_clickprompt.trainer.fingerprint import differences
from recbole_clickprompt.trainer.random_state import random_states, restore_random_states
from recbole_clickprompt.trainer.stage import Progress, Stage

__all__ = ["Keeper", "find_state"]

_FORMAT = "clickprompt-resume-1"
_KIND = "the state of an unfinished training of ClickPrompt"


def find_state(
    resume: str | None, own: Path, *, stage: str, stages: Iterable[str], inputs: dict[str, Any]
) -> tuple[Path, dict[str, Any] | None]:
    """Where a stage keeps its state, and the state to go on from.

    Args:
        resume: The setting: None, ``auto`` or a path.
        own: The file of these inputs.
        stage: The stage that asks.
        stages: Those of the run.
        inputs: All that determines the stage.

    Returns:
        The file, and what is in it, or None for a stage that begins.

    Raises:
        WeightsError: A file that should be gone on from is missing, damaged or foreign.
        SettingError: It is of another stage or of other settings; says which.
    """
    if resume is None or (resume == "auto" and not ranks.current().agree(own.exists())):
        return own, None
    path = own if resume == "auto" else Path(resume)
    state = read_checkpoint(path, kind=_KIND)
    if state.get("format") != _FORMAT:
        raise WeightsError(f"{path} is not {_KIND} ({_FORMAT})")
    if state["stage"] not in stages:
        raise SettingError(
            f"resume: {path} is of the stage {state['stage']}, which this run leaves out; set train_stage to all "
            f"or {state['stage']}"
        )
    if state["stage"] != stage:
        return own, None
    if differing := differences(inputs, json.loads(state["inputs"])):
        raise SettingError(
            f"resume: {path} is of another run: {', '.join(differing[:5])} differ; give the settings it was "
            "made with, or leave out --resume to begin anew"
        )
    here, there = ranks.current().world, len(state["random"])
    if here != there:
        raise SettingError(
            f"resume: {path} is of {there} processes and this run has {here}; start it with {there}"
        )
    return path, state


class Keeper:
    """Keeps the state of a stage: every so many epochs and minutes, and when the process is asked to end.

    Args:
        stage: What trains.
        path: The file.
        inputs: All that determines the training.
        every_epochs: Write it behind every so many epochs; 0 for never.
        every_minutes: Write it where so many minutes have passed since the last time; 0 for never.
        capture: What else belongs to the state, plain values and tensors.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        path: Path,
        inputs: dict[str, Any],
        every_epochs: int,
        every_minutes: float,
        capture: Callable[[], dict[str, Any]],
    ) -> None:
        self.stage, self.path, self.inputs = stage, path, inputs
        self.every_epochs, self.every_minutes, self.capture = every_epochs, every_minutes, capture
        self._progress = Progress(0)
        self._restored: dict[str, Any] | None = None
        self._order: dict[str, Any] = {}  # random states when the epoch began, out of which comes its order
        self._point: dict[str, Any] | None = None  # where the weights are now, if between two batches
        self._written: dict[str, Any] | None = None  # the point that the file is of, if there is one
        self._last = monotonic()
        self._training = self._asked_to_stop = False
        stage.keeper = self

    @classmethod
    def of(cls, config: Any, stage: Stage, **how: Any) -> Keeper:
        """A keeper that writes as often as the config says."""
        return cls(stage, every_epochs=config["save_step"], every_minutes=config["save_minutes"], **how)

    def restore(self, state: dict[str, Any]) -> int:
        """Sets the stage to a state that ``find_state`` gave; returns the epoch that it is in."""
        self.stage.model.load_state_dict(state["model"])
        self.stage.optimizer.load_state_dict(state["optimizer"])
        self.stage.scheduler.load_state_dict(state["scheduler"])
        self._restored = {key: state[key] for key in ("progress", "order", "random")}
        self._written = self._restored
        epoch, batches = state["progress"]["epoch"], state["progress"]["batches"]
        getLogger().info(f"{self.stage.name} goes on in epoch {epoch} behind {batches} batches: {self.path}")
        return epoch

    def begin(self, epoch: int) -> Progress:
        """What is done of an epoch that is about to run."""
        self._progress = Progress(**self._restored["progress"]) if self._restored else Progress(epoch)
        return self._progress

    def batches(self, loader: Any) -> Iterator[Any]:
        """Those batches of the epoch that are left, in the order they would have had; keeps the state between."""
        device, generator = self.stage.device, getattr(loader, "generator", None)
        restored, self._restored = self._restored, None
        here = ranks.current().rank
        if restored:
            restore_random_states(restored["order"][here]["random"], device)
            if generator is not None:
                generator.set_state(restored["order"][here]["loader"])
        self._order = {
            "random": random_states(device),
            "loader": None if generator is None else generator.get_state(),
        }
        left = iter(loader)
        for _ in range(self._progress.batches):
            next(left)
        if restored:
            restore_random_states(restored["random"][here], device)
        self._training = True
        try:
            for interaction in left:
                yield interaction
                # The batch has been trained on by now
                if self._is_due():
                    self._mark()
                    self._write()
            self._mark()
        finally:
            self._training = False
        done = self._progress.epoch + 1
        if self._is_due() or (self.every_epochs and done % self.every_epochs == 0):
            self._write()

    def keep_up(self, *, begin: bool = False) -> None:
        """Brings the file up to date, between two epochs.

        Where there is one it must not be older than the best model, which the next epochs may overwrite.

        Args:
            begin: Write one also where there is none.
        """
        if self._point is not None and self._written is not self._point and (begin or self._written is not None):
            self._write()

    def remove(self) -> None:
        """The training is finished."""
        self._point = self._written = None
        if ranks.current().main:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Within, SIGTERM keeps the state and ends the process with code 143; Ctrl-C says how to go on."""
        if threading.current_thread() is not threading.main_thread():
            yield  # where signals do not arrive
            return
        previous = signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            yield
        except KeyboardInterrupt:
            if self._written is not None:
                getLogger().warning(f"interrupted: {self._how_to_go_on()}")
            raise
        finally:
            signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)

    def _on_sigterm(self, *_: Any) -> None:
        if self._training:
            self._asked_to_stop = True  # until the batch is done
            return
        self.keep_up(begin=True)  # an evaluation: the weights rest
        self._stop()

    def _is_due(self) -> bool:
        due = bool(self.every_minutes) and monotonic() - self._last >= 60 * self.every_minutes
        self._asked_to_stop, due = map(any, zip(*ranks.current().gather((self._asked_to_stop, due)), strict=True))
        return self._asked_to_stop or due

    def _mark(self) -> None:
        if not all(bool(torch.isfinite(weight).all()) for weight in self.stage.model.parameters()):
            raise TrainingError(f"{self.stage.name}: weights are no longer finite; lower the learning rate")
        progress = self._progress
        self._point = {
            "progress": {"epoch": progress.epoch, "batches": progress.batches, "loss": progress.loss},
            "order": ranks.current().gather(self._order),
            "random": ranks.current().gather(random_states(self.stage.device)),
            "own": self.capture(),
        }

    def _write(self) -> None:
        assert self._point is not None
        state = {
            "format": _FORMAT,
            "stage": self.stage.name,
            "inputs": json.dumps(self.inputs),
            "model": self.stage.model.state_dict(),
            "optimizer": self.stage.optimizer.state_dict(),
            "scheduler": self.stage.scheduler.state_dict(),
            **self._point,
        }
        if ranks.current().main:  # the weights are the same on every rank
            write_checkpoint(self.path, state)
        self._written, self._last = self._point, monotonic()
        if self._asked_to_stop:
            self._stop()

    def _stop(self) -> None:
        if ranks.current().main:
            print(f"SIGTERM: {self._how_to_go_on()}", file=sys.stderr)
        raise SystemExit(143)

    def _how_to_go_on(self) -> str:
        if self._written is None:
            return "the training ends before its first step"
        return f"the training is kept in {self.path}; give --resume=auto to go on"

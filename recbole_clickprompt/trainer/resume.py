"""Keeps the state of a training, so that it continues after an interruption as if there had been none."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import TrainingError, WeightsError
from recbole_clickprompt.trainer.random_state import random_states, restore_random_states
from recbole_clickprompt.trainer.resume_file import save_resume_state
from recbole_clickprompt.trainer.stage import Progress, TrainingStage

__all__ = ["ResumeCheckpointer"]


class ResumeCheckpointer:
    """Keeps the state of a stage: every so many minutes, and when the process is asked to end.

    Args:
        stage: What trains.
        path: The file.
        inputs: All that determines the training.
        every_minutes: Write it where so many minutes have passed since the last time; 0 for never.
        capture: What else belongs to the state, plain values and tensors.
    """

    def __init__(
        self,
        stage: TrainingStage,
        *,
        path: Path,
        inputs: dict[str, Any],
        every_minutes: float,
        capture: Callable[[], dict[str, Any]],
    ) -> None:
        self.stage, self.path, self.inputs = stage, path, inputs
        self.every_minutes, self.capture = every_minutes, capture
        self._progress = Progress(0)
        self._restored: dict[str, Any] | None = None
        self._order: dict[str, Any] = {}  # random states when the epoch began, out of which comes its order
        self._snapshot_state: dict[str, Any] | None = None  # where the weights are now, if between two batches
        self._written: dict[str, Any] | None = None  # the point that the file is of, if there is one
        self._last = monotonic()
        self._training = self._asked_to_stop = False
        stage.checkpointer = self

    @classmethod
    def from_config(cls, config: Any, stage: TrainingStage, **how: Any) -> ResumeCheckpointer:
        """A checkpointer that writes as often as the config asks."""
        return cls(stage, every_minutes=config["checkpoint_minutes"], **how)

    def restore(self, state: dict[str, Any]) -> int:
        """Sets the stage to a state that ``load_resume_state`` gave; returns the epoch that it is in."""
        try:
            self.stage.model.load_state_dict(state["model"])
            self.stage.optimizer.load_state_dict(state["optimizer"])
            self.stage.scheduler.load_state_dict(state["scheduler"])
            self._restored = {key: state[key] for key in ("progress", "order", "random")}
            epoch, batches = int(state["progress"]["epoch"]), int(state["progress"]["batches"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{self.path} is damaged, or the state of another training: {reason}") from error
        self._written = self._restored
        getLogger().info(f"{self.stage.name} goes on in epoch {epoch} behind {batches} batches: {self.path}")
        return epoch

    def begin(self, epoch: int) -> Progress:
        """What is done of an epoch that is about to run."""
        self._progress = Progress(**self._restored["progress"]) if self._restored else Progress(epoch)
        return self._progress

    def batches(self, loader: Any) -> Iterator[Any]:
        """Those batches of the epoch that are left, in the order they would have had; keeps the state between."""
        left = self._remaining(loader)
        self._training = True
        try:
            for interaction in left:
                yield interaction
                # The batch has been trained on by now
                if self._should_save():
                    self._snapshot()
                    self._write()
            self._snapshot()
        finally:
            self._training = False
        if self._should_save():
            self._write()

    def _remaining(self, loader: Any) -> Iterator[Any]:
        device, generator, rank = self.stage.device, getattr(loader, "generator", None), distributed.current().rank
        restored, self._restored = self._restored, None
        if restored:
            began = restored["order"][rank]
            restore_random_states(began["random"], device)
            if generator is not None:
                generator.set_state(began["loader"])
        self._order = {
            "random": random_states(device),
            "loader": None if generator is None else generator.get_state(),
        }
        left = iter(loader)
        for _ in range(self._progress.batches):
            if next(left, None) is None:
                raise WeightsError(f"{self.path} is damaged: its epoch has more batches than the training rows")
        if restored:
            restore_random_states(restored["random"][rank], device)
        return left

    def flush(self, *, begin: bool = False) -> None:
        """Brings the file up to date, between two epochs.

        Where there is one it must not be older than the best model, which the next epochs may overwrite.

        Args:
            begin: Write one also where there is none.
        """
        if self._snapshot_state is None or self._snapshot_state is self._written:
            return
        if begin or self._written is not None:
            self._write()

    def remove(self) -> None:
        """The training is finished."""
        self._snapshot_state = self._written = None
        if distributed.current().is_main:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Within, SIGTERM keeps the state and ends the process with code 143; Ctrl-C says how to go on."""
        if threading.current_thread() is not threading.main_thread():
            yield  # where signals do not arrive
            return
        previous = signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            yield
        except KeyboardInterrupt:
            if self._written is not None:
                getLogger().warning(f"interrupted: {self._resume_hint()}")
            raise
        finally:
            signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)

    def _on_sigterm(self, *_: Any) -> None:
        if self._training:
            self._asked_to_stop = True  # until the batch is done
            return
        self.flush(begin=True)  # an evaluation: the weights rest
        self._stop()

    def _should_save(self) -> bool:
        is_late = bool(self.every_minutes) and monotonic() - self._last >= 60 * self.every_minutes
        # What one rank has to do, all do
        asked, late = zip(*distributed.current().all_gather((self._asked_to_stop, is_late)), strict=True)
        self._asked_to_stop = any(asked)
        return self._asked_to_stop or any(late)

    def _snapshot(self) -> None:
        """Takes the place where the training stands for the point to write."""
        if not all(bool(torch.isfinite(weight).all()) for weight in self.stage.model.parameters()):
            raise TrainingError(f"{self.stage.name}: weights are no longer finite; lower the learning rate")
        progress = self._progress
        self._snapshot_state = {
            "progress": {"epoch": progress.epoch, "batches": progress.batches, "loss": progress.loss},
            "order": distributed.current().all_gather(self._order),
            "random": distributed.current().all_gather(random_states(self.stage.device)),
            "own": self.capture(),
        }

    def _write(self) -> None:
        """Writes the point, and ends the process if it was asked to end."""
        assert self._snapshot_state is not None
        save_resume_state(self.path, self.stage, inputs=self.inputs, point=self._snapshot_state)
        self._written, self._last = self._snapshot_state, monotonic()
        if self._asked_to_stop:
            self._stop()

    def _stop(self) -> None:
        if distributed.current().is_main:
            print(f"SIGTERM: {self._resume_hint()}", file=sys.stderr)
        raise SystemExit(143)

    def _resume_hint(self) -> str:
        if self._written is None:
            return "the training ends before its first step"
        return f"the training is kept in {self.path}; give --resume=auto to go on"

"""Saves the state of a training run so that an interrupted run resumes exactly."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.files import load_tables, remove_tables
from recbole_clickprompt.errors import TrainingError, WeightsError
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.random_state import random_states, restore_random_states
from recbole_clickprompt.trainer.resume_file import remove_checkpoint, save_resume_state, superseded_checkpoint
from recbole_clickprompt.trainer.stage import Progress, TrainingStage

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

__all__ = ["ResumeCheckpointer"]


class ResumeCheckpointer:
    """Saves the state of a stage at intervals and at SIGTERM.

    Args:
        stage: The stage that is trained.
        path: The file.
        inputs: Everything that determines the training; see ``fingerprint``.
        every_minutes: Interval between writes in minutes; 0 for SIGTERM only.
        capture: Returns additional state, as plain values and tensors.
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
        self._order: dict[str, Any] = {}  # random states at the start of the epoch, which determine its order
        self._snapshot_state: dict[str, Any] | None = None  # matches the current weights between two batches
        self._written: dict[str, Any] | None = None  # the snapshot in the file, if there is one
        self._last = monotonic()
        self._training = self._asked_to_stop = False
        stage.checkpointer = self

    @classmethod
    def from_config(
        cls,
        config: Settings,
        stage: TrainingStage,
        *,
        path: Path,
        inputs: dict[str, Any],
        capture: Callable[[], dict[str, Any]],
    ) -> ResumeCheckpointer:
        """A checkpointer with the interval ``checkpoint_minutes``."""
        return cls(stage, path=path, inputs=inputs, every_minutes=config["checkpoint_minutes"], capture=capture)

    def restore(self, state: dict[str, Any]) -> int:
        """Restores the stage from a result of ``load_resume_state``; returns the number of the current epoch."""
        try:
            self.stage.model.load_state_dict(state["model"])
            load_tables(self.stage.model, state.get("tables"), self.path)
            self.stage.optimizer.load_state_dict(state["optimizer"])
            self.stage.scheduler.load_state_dict(state["scheduler"])
            self._restored = {key: state[key] for key in ("progress", "order", "random")}
            epoch, batches = int(state["progress"]["epoch"]), int(state["progress"]["batches"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"{self.path} is damaged, or the state of another training run: {reason}"
            ) from error
        self._written = self._restored
        getLogger().info(f"{self.stage.name} resumes in epoch {epoch} after {batches} batches: {self.path}")
        return epoch

    def begin(self, epoch: int) -> Progress:
        """The progress within an epoch that is about to run."""
        self._progress = Progress(**self._restored["progress"]) if self._restored else Progress(epoch)
        return self._progress

    def batches(self, loader: Iterable[Interaction]) -> Iterator[Interaction]:
        """The remaining batches of the epoch in their original order; saves the state between them."""
        remaining = self._remaining(loader)
        self._training = True
        try:
            for interaction in remaining:
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

    def _remaining(self, loader: Iterable[Interaction]) -> Iterator[Interaction]:
        device, generator, rank = self.stage.device, getattr(loader, "generator", None), distributed.current().rank
        restored, self._restored = self._restored, None
        if restored:
            order = restored["order"][rank]
            restore_random_states(order["random"], device)
            if generator is not None:
                generator.set_state(order["loader"])
        self._order = {
            "random": random_states(device),
            "loader": None if generator is None else generator.get_state(),
        }
        batches = iter(loader)
        for _ in range(self._progress.batches):
            if next(batches, None) is None:
                raise WeightsError(f"{self.path} is damaged: its epoch has more batches than the training rows")
        if restored:
            restore_random_states(restored["random"][rank], device)
        return batches

    def flush(self, *, begin: bool = False) -> None:
        """Updates the file between two epochs.

        An existing file must not be older than the best model, which the next epochs may overwrite.

        Args:
            begin: Whether to create the file if it does not exist.
        """
        if self._snapshot_state is None or self._snapshot_state is self._written:
            return
        if begin or self._written is not None:
            self._write()

    def remove(self) -> None:
        """Removes the file when training is finished."""
        superseded = self._superseded()
        self._snapshot_state = self._written = None
        if distributed.current().is_main:
            self.path.unlink(missing_ok=True)
            remove_tables(self.path)
            if superseded:
                remove_checkpoint(superseded)

    def _superseded(self) -> Path | None:
        """The checkpoint of a killed run of the same inputs that this run repeats instead of resuming it."""
        if self._written is not None or not distributed.current().is_main or not self.path.exists():
            return None
        return superseded_checkpoint(self.path)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """A context in which SIGTERM saves the state and exits with code 143, and Ctrl-C logs how to resume."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are delivered to the main thread only
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

    def _on_sigterm(self, *_: object) -> None:
        if self._training or self.stage.tables:  # all processes save their rows at the same point
            self._asked_to_stop = True  # stops after the current batch
            return
        self.flush(begin=True)  # during evaluation the weights do not change
        self._stop()

    def stop_if_asked(self) -> None:
        """Between two batches of a validation: saves the state and exits if SIGTERM was received.

        Only for models with sharded tables; other states are saved by the signal handler itself.
        """
        if self.stage.tables and any(distributed.current().all_gather(self._asked_to_stop)):
            self._asked_to_stop = True
            self.flush(begin=True)
            self._stop()

    def _should_save(self) -> bool:
        is_late = bool(self.every_minutes) and monotonic() - self._last >= 60 * self.every_minutes
        # If one rank has to save, all do
        asked, late = zip(*distributed.current().all_gather((self._asked_to_stop, is_late)), strict=True)
        self._asked_to_stop = any(asked)
        return self._asked_to_stop or any(late)

    def _snapshot(self) -> None:
        """Captures the current state, which ``_write`` saves with the weights."""
        weights = [*self.stage.model.parameters(), *(table.local.weight for table in self.stage.tables)]
        if not all(bool(torch.isfinite(weight).all()) for weight in weights):
            raise TrainingError(f"{self.stage.name}: weights are no longer finite; lower the learning rate")
        progress = self._progress
        self._snapshot_state = {
            "progress": {"epoch": progress.epoch, "batches": progress.batches, "loss": progress.loss},
            "order": distributed.current().all_gather(self._order),
            "random": distributed.current().all_gather(random_states(self.stage.device)),
            "own": self.capture(),
        }

    def _write(self) -> None:
        """Writes the snapshot, and ends the process if SIGTERM was received."""
        assert self._snapshot_state is not None
        superseded = self._superseded()
        save_resume_state(self.path, self.stage, inputs=self.inputs, snapshot=self._snapshot_state)
        if superseded:
            remove_checkpoint(superseded)
        self._written, self._last = self._snapshot_state, monotonic()
        if self._asked_to_stop:
            self._stop()

    def _stop(self) -> None:
        if distributed.current().is_main:
            print(f"SIGTERM: {self._resume_hint()}", file=sys.stderr)
        raise SystemExit(143)

    def _resume_hint(self) -> str:
        if self._written is None:
            return "training ends before its first step"
        return f"the training state is saved in {self.path}; resume with --resume=auto"

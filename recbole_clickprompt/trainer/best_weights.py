"""Early stopping: the weights of the epoch with the smallest validation loss."""

from __future__ import annotations

import math
from logging import getLogger
from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_clickprompt.errors import TrainingError, WeightsError
from recbole_clickprompt.trainer.protocols import Module

__all__ = ["BestWeights"]


class BestWeights:
    """Keeps a copy of the best weights, on the CPU and in the state of an unfinished stage.

    The state is captured before an epoch is validated, so a stage that resumes there validates it again.

    Args:
        patience: Epochs in a row without a smaller loss after which a stage ends.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self._epoch, self._loss, self._stale = -1, math.inf, 0
        self._weights: dict[str, Tensor] = {}

    def update(self, epoch: int, loss: float, model: Module, *, stage: str) -> None:
        """Notes the validation loss of an epoch, counted from 0.

        Raises:
            TrainingError: The loss is not finite.
        """
        if not math.isfinite(loss):
            raise TrainingError(
                f"{stage}: the validation loss of epoch {epoch + 1} is {loss}, so it cannot select an epoch; "
                "lower the learning rate"
            )
        if loss >= self._loss:
            self._stale += 1
            return
        self._epoch, self._loss, self._stale = epoch, loss, 0
        copies: dict[int, Tensor] = {}  # tied weights are copied once
        self._weights = {}
        for name, tensor in model.state_dict().items():
            if tensor.data_ptr() not in copies or copies[tensor.data_ptr()].shape != tensor.shape:
                copies[tensor.data_ptr()] = tensor.detach().to("cpu", copy=True)
            self._weights[name] = copies[tensor.data_ptr()]

    def is_exhausted(self) -> bool:
        """Whether the stage ends."""
        return self._stale >= self.patience

    def load_into(self, model: Module) -> int:
        """Loads the best weights, if any epoch was validated; returns the number of epochs that they took."""
        if self._weights:
            model.load_state_dict(self._weights)
            getLogger().info(f"best epoch {self._epoch}, validation loss {self._loss:.4f}")
        return self._epoch + 1

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs, as plain values and tensors."""
        return {"epoch": self._epoch, "loss": self._loss, "stale": self._stale, "weights": self._weights}

    def restore(self, state: dict[str, Any] | None, model: Module, path: Path) -> None:
        """Continues from a ``state``.

        Args:
            state: From the file at ``path``.
            model: The model, for the names and shapes of its weights.
            path: For messages.

        Raises:
            WeightsError: There is no state, or its weights are not those of the model.
        """
        expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
        found = None if state is None else {name: tensor.shape for name, tensor in state["weights"].items()}
        if state is None or (found and found != expected):
            raise WeightsError(
                f"{path} is damaged, or the state of another training: it has no best weights of this model; "
                "leave out --resume to start over"
            )
        self._epoch, self._loss, self._stale = state["epoch"], state["loss"], state["stale"]
        self._weights = state["weights"]

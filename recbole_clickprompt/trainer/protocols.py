"""What the trainer asks of models, stages and methods. It knows none of them by name.

A method (``methods/base.py``) hands the trainer its stages. Each stage trains a model of its own and leaves a
checkpoint, which the next one and the finetuned model start from.

Letters: B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from recbole_clickprompt.trainer.running_metrics import RunningMean

__all__ = ["CTRModel", "FinetuningMethod", "PretrainingStage", "StageModel", "Trainable"]


class Trainable(Protocol):
    """An ``nn.Module`` that a stage trains. A batch is cut into parts, and processes share each part."""

    def split(self, batch: Any, size: int) -> Sequence[tuple[Any, float]]:
        """Cuts a batch into parts of at most ``size`` rows.

        Returns:
            Parts and their weights: the sum of weight times ``calculate_loss`` over the parts is the loss of the
            batch. What is drawn at random is drawn here, from a random state that all processes share.
        """

    def rows(self, part: Any) -> int:
        """The number of rows of a part."""

    def select(self, part: Any, rows: Tensor) -> tuple[Any, float]:
        """Some rows of a part, by number, and their share of its weight."""

    def calculate_loss(self, part: Any) -> Tensor:
        """The mean loss of a part, a scalar."""

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Weights that train at the learning rate of what comes pretrained, such as a language model's."""

    def parameters(self) -> Any: ...

    def modules(self) -> Any: ...


class StageModel(Trainable, Protocol):
    """The model of a stage before finetuning.

    Attributes:
        metrics: Objective: its loss and accuracy since they were last reported.
    """

    metrics: Mapping[str, RunningMean]


class CTRModel(Trainable, Protocol):
    """The model that is finetuned, evaluated and served; also a model of RecBole's."""

    def blocks(self, batch: Any, at_least: int) -> Sequence[Tensor]:
        """Row numbers in blocks that are predicted one by one; ``at_least`` so many, given enough rows."""

    def predict(self, batch: Any) -> Tensor:
        """Probabilities of a click, ``(B,)``."""

    def predict_logits(self, batch: Any) -> dict[str, Tensor]:
        """The columns of the predictions that ``score`` makes a probability of, each ``(B,)``."""

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities, ``(B,)``, of what ``predict_logits`` gave."""

    def prediction_constants(self) -> dict[str, float]:
        """Further columns of the predictions, each with one value for all rows."""


class PretrainingStage(Protocol):
    """A stage before finetuning.

    Attributes:
        name: As ``train_stage`` names it; shown in progress bars and learning curves, and part of file names.
    """

    name: str

    def is_enabled(self, config: Any) -> bool:
        """Whether a run with these settings has it."""

    def label(self, config: Any) -> str:
        """What its checkpoint is called in file names; methods that share the stage have the same."""

    def reads_text(self, config: Any) -> bool:
        """Whether it reads the text of rows; then text and language model determine it."""

    def training_rows(self, config: Any, train_data: Any, valid_data: Any) -> Any:
        """The data set that it passes over."""

    def batch_size(self, config: Any) -> int:
        """Rows of a step."""

    def epochs(self, config: Any) -> int:
        """Passes over the rows."""

    def schedule(self, config: Any) -> tuple[str, float]:
        """The learning-rate schedule, and the share of the steps that warms up."""

    def build(self, config: Any, dataset: Any) -> Any:
        """A ``StageModel`` with the weights that it begins with, on the CPU."""

    def begin(self, config: Any, dataset: Any, model: Any, previous: Path | None) -> None:
        """Gives the model what it starts from; not called where a state is resumed.

        Args:
            config: Of the run.
            dataset: What ``training_rows`` gave.
            model: On its device.
            previous: The checkpoint of the stage before, if there is one.
        """

    def optimizer(self, config: Any, model: Any) -> torch.optim.Optimizer:
        """Its optimizer, with groups of weights as ``trainer.optimizer.build_optimizer`` makes them."""

    def evaluate(self, config: Any, model: Any, data: Any) -> dict[str, float]:
        """Metrics of its trained model on rows that it was not trained on."""

    def selection_metric(self, config: Any, *, bigger: bool) -> str:
        """The metric that ranks runs of this stage alone; a bigger or a smaller one is better."""


class FinetuningMethod(Protocol):
    """What the trainer asks of a method; ``methods.base.Method`` is one.

    Attributes:
        stages: Before finetuning, in order.
        serves_text: The model reads the text of rows when it predicts.
    """

    stages: Sequence[PretrainingStage]
    serves_text: bool

    def reads_text(self, config: Any) -> bool:
        """Whether finetuning reads the text of rows."""

    def begin_finetuning(
        self, config: Any, model: Any, *, start: Path | None, train_data: Any, valid_data: Any, all_rows: Any
    ) -> None:
        """Gives the weights what they begin finetuning with.

        Args:
            config: Of the run.
            model: The ``CTRModel``.
            start: The last stage's checkpoint, or that of ``pre_model_path``.
            train_data: Loader of the rows that are trained on.
            valid_data: Loader of the validation rows, or None.
            all_rows: Loader of all training rows; ``train_data`` may be a sample of it.
        """

    def title(self, config: Any) -> str:
        """The model of a run in words, for tables and reports."""

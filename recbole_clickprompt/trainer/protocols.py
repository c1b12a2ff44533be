"""Interfaces of the models, stages and methods that the trainer works with. It knows none of them by name.

A method (``methods/base.py``) provides the trainer with its stages. Each stage trains a model of its own and saves
a checkpoint, from which the next stage or finetuning starts.

Letters: B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from recbole_clickprompt.evaluation.word_tables import WordTable
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.running_metrics import RunningMean

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from recbole.data.interaction import Interaction

__all__ = [
    "CTRModel", "ExampleStage", "FinetuningMethod", "FollowsTraining", "HasTableRows", "Module",
    "PretrainingStage", "ReadsLastStage", "StageModel", "TakesWarmStart", "Trainable", "ValidatedStage",
]  # fmt: skip

_M = TypeVar("_M")


class Module(Protocol):
    """The part of ``nn.Module`` that training uses."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> object: ...

    def train(self: _M) -> _M: ...

    def eval(self: _M) -> _M: ...

    def to(self: _M, device: torch.device) -> _M: ...


class Trainable(Module, Protocol):
    """An ``nn.Module`` that a stage trains. A batch is cut into parts, and processes share each part."""

    def split(self, batch: Interaction, size: int) -> Sequence[tuple[Any, float]]:
        """Cuts a batch into parts of at most ``size`` rows.

        Returns:
            Parts, of any type that the model chooses, and their weights: the sum of weight times
            ``calculate_loss`` over the parts is the loss of the batch. Random numbers are drawn here, from a
            random state that all processes share.
        """

    def rows(self, part: Any) -> int:
        """The number of rows of a part."""

    def select(self, part: Any, rows: Tensor) -> tuple[Any, float]:
        """The rows of a part with these numbers, and their fraction of its weight."""

    def calculate_loss(self, part: Any) -> Tensor:
        """The mean loss of a part, a scalar."""

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Pretrained weights, such as a language model's, which have a separate learning rate."""


class StageModel(Trainable, Protocol):
    """The model of a stage before finetuning.

    Attributes:
        metrics: Loss and accuracy by objective since they were last reported.
    """

    metrics: Mapping[str, RunningMean]


class CTRModel(Trainable, Protocol):
    """The model that is finetuned, evaluated and served; it is also a RecBole model."""

    def blocks(self, batch: Interaction, at_least: int) -> Sequence[Tensor]:
        """Row numbers in blocks that are predicted separately; ``at_least`` this many, given enough rows."""

    def predict(self, batch: Interaction) -> Tensor:
        """Click probabilities, ``(B,)``."""

    def predict_logits(self, batch: Interaction) -> dict[str, Tensor]:
        """The columns of the predictions from which ``score`` computes a probability, each ``(B,)``."""

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Click probabilities, ``(B,)``, from the result of ``predict_logits``."""

    def prediction_constants(self) -> dict[str, float]:
        """Additional columns of the predictions, each with one value for all rows."""


class PretrainingStage(Protocol):
    """A stage before finetuning.

    Attributes:
        name: Its name in ``train_stage``, progress bars, learning curves and file names.
    """

    name: str

    def is_enabled(self, config: Settings) -> bool:
        """Whether a run with these settings includes the stage."""

    def label(self, config: Settings) -> str:
        """The name of its checkpoint in file names; methods that share the stage use the same label."""

    def reads_text(self, config: Settings) -> bool:
        """Whether it reads the text of rows; if so, its result depends on text and language model."""

    def training_rows(
        self, config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
    ) -> Dataset:
        """The data set that it trains on."""

    def batch_size(self, config: Settings) -> int:
        """Rows per optimizer step."""

    def epochs(self, config: Settings) -> int:
        """Passes over the rows."""

    def schedule(self, config: Settings) -> tuple[str, float]:
        """The learning-rate schedule, and the fraction of the steps used for warm-up."""

    def build(self, config: Config, dataset: Dataset) -> StageModel:
        """The model with its initial weights, on the CPU."""

    def begin(self, config: Config, dataset: Dataset, model: Any, previous: Path | None) -> None:
        """Loads the weights that training starts from; not called if a saved state is resumed.

        Args:
            config: Settings of the run.
            dataset: The result of ``training_rows``.
            model: The result of ``build``, on its device.
            previous: The checkpoint of the previous stage, if there is one.
        """

    def optimizer(self, config: Settings, model: Any) -> torch.optim.Optimizer:
        """Its optimizer, with parameter groups as made by ``trainer.optimizer.build_optimizer``."""

    def evaluate(self, config: Config, model: Any, data: AbstractDataLoader) -> dict[str, float]:
        """Metrics of the trained model on rows that it was not trained on."""

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """The metric that ranks runs of this stage: one to maximize if ``bigger``, else one to minimize."""


@runtime_checkable
class ValidatedStage(Protocol):
    """A ``PretrainingStage`` that is validated after each epoch, keeps the best weights and may end early."""

    def validate(self, config: Config, model: Any, dataset: Any) -> float:
        """The loss to minimize, in evaluation mode, on examples that are not trained on.

        Args:
            config: Settings of the run.
            model: The model of the stage, with the weights of the epoch.
            dataset: The result of ``training_rows``.

        Returns:
            The same number on all ranks.
        """

    def patience(self, config: Settings) -> int:
        """Epochs in a row without a smaller loss after which the stage ends."""


@runtime_checkable
class ExampleStage(Protocol):
    """A ``PretrainingStage`` whose examples are not rows of the data set, such as texts.

    ``training_rows`` then returns a collection of examples with ``__len__`` and ``__getitem__``, which maps an
    array of numbers to an ``Interaction``. ``build`` gets it too.
    """

    def inputs(self, config: Settings, dataset: Any) -> dict[str, Any]:
        """Everything that determines the result: ``settings``, a mapping of plain values, and hashes by name."""

    def seed(self, config: Settings) -> int:
        """The seed of the stage, which may differ from that of the run."""

    def enable_amp(self, config: Settings) -> bool:
        """Whether the stage computes in bf16."""

    def finish(self, config: Config, model: Any, dataset: Any, checkpoint: Path) -> dict[str, float]:
        """Called on all ranks with the final weights, before the checkpoint is written; measures what was learned.

        Args:
            config: Settings of the run.
            model: The model of the stage.
            dataset: The result of ``training_rows``.
            checkpoint: The path that the checkpoint will have; other files of the stage are named after it.

        Returns:
            Metrics, which are added to those of the last epoch.
        """

    def summary(self, config: Config, dataset: Any, checkpoint: Path) -> str:
        """What ``finish`` measured, as text of several lines; measured again where settings ask for another way.

        Args:
            config: Settings of the run.
            dataset: The result of ``training_rows``.
            checkpoint: The result of the stage.
        """


@runtime_checkable
class FollowsTraining(Protocol):
    """A ``Trainable`` that depends on the progress of training, or stores what it computed from its weights."""

    def begin_batch(self, epoch: int, batch: int) -> None:
        """Called before each batch that is trained on.

        Args:
            epoch: Number of the epoch, from 0; with ``evals_per_epoch``, of the part of a pass.
            batch: Number of the batch in it, from 0. A resumed run begins with the number of its next batch.
        """

    def before_saving(self) -> None:
        """Called before the model is saved as a result of training: brings what is stored up to date."""


@runtime_checkable
class ReadsLastStage(Protocol):
    """A ``CTRModel`` that needs the result of its last stage while it is trained, such as a teacher to learn from.

    Weights that training starts from are loaded by ``FinetuningMethod.begin_finetuning``, which a resumed run does
    not call.
    """

    def read_stage(self, checkpoint: Path | None) -> None:
        """Called before training, also when a run is resumed.

        Args:
            checkpoint: The checkpoint of the last stage, or the one that ``pre_model_path`` names; None without.
        """


@runtime_checkable
class HasTableRows(Protocol):
    """A module with tensors that depend on the ids of fields; RecBole's context-aware models need not say so."""

    def table_rows(self) -> Mapping[str, Sequence[str | int] | None]:
        """How a warm start copies tensors of the module, by their names in its ``state_dict``.

        A list names the fields whose ids the rows of a tensor are, one field after the other; a number stands for
        so many rows that are no ids. None: the tensor is computed from the data, and not copied.
        """


@runtime_checkable
class TakesWarmStart(Protocol):
    """A module that has to do more in a warm start than to have its tensors copied.

    ``saved`` has the saved tensors of the module by their names in its ``state_dict``.
    """

    def before_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Called before ``FinetuningMethod.begin_finetuning``."""

    def after_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Called when tensors have been copied; raises SettingError if the module cannot continue from them."""


class FinetuningMethod(Protocol):
    """What the trainer needs from a method; ``methods.base.Method`` implements it.

    Attributes:
        stages: The stages before finetuning, in order.
    """

    stages: Sequence[PretrainingStage]

    def serves_text_with(self, settings: Settings) -> bool:
        """Whether the model reads the text of rows when it predicts."""

    def reads_text(self, config: Settings) -> bool:
        """Whether finetuning reads the text of rows."""

    def inputs(self, config: Config, dataset: Dataset) -> dict[str, Any]:
        """What determines a run in addition to settings, rows and the text of rows, such as hashes of files.

        Args:
            config: Settings of the run.
            dataset: Its training rows.
        """

    def begin_finetuning(
        self,
        config: Config,
        model: Any,
        *,
        start: Path | None,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        all_rows: AbstractDataLoader,
    ) -> None:
        """Loads the weights that finetuning starts from.

        Args:
            config: Settings of the run.
            model: The model of the method, a ``CTRModel``.
            start: The checkpoint of the last stage, or the one that ``pre_model_path`` names.
            train_data: Loader of the rows to train on.
            valid_data: Loader of the validation rows, or None.
            all_rows: Loader of all training rows, of which ``train_data`` may be a sample.
        """

    def title(self, config: Settings) -> str:
        """A readable name of the model of a run, for tables and reports."""

    def tables(self, config: Config, model: Any, dataset: Dataset) -> Sequence[WordTable]:
        """Tables of words about a trained model, for reports."""

    def run_name(self, config: Settings) -> str:
        """The beginning of the names of a run's folder and checkpoint."""

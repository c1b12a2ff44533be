"""A stage before finetuning that trains on the labels of training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_clickprompt.methods.clickprompt.pretraining import Pretraining
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from torch import nn

__all__ = ["LabeledPretraining"]


class LabeledPretraining(Pretraining):
    """Base class of such stages: subclasses set ``name`` and build a ``labeled_stage.LabeledStageModel``.

    The ``pretrain_`` settings are those of ``Pretraining``, but validation rows are never trained on.
    """

    def label(self, config: Settings) -> str:
        """``<backbone>-<name>``."""
        return f"{config['backbone']}-{self.name}"

    def reads_text(self, config: Settings) -> bool:
        """Always."""
        return True

    def training_rows(
        self, config: Settings, train_data: AbstractDataLoader, valid_data: AbstractDataLoader | None
    ) -> Dataset:
        """See ``labeled_rows``."""
        from recbole_clickprompt.methods.labeled_stage import labeled_rows

        return labeled_rows(config, train_data)

    def evaluate(self, config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
        """See ``evaluate_labeled``."""
        from recbole_clickprompt.methods.labeled_stage import evaluate_labeled

        return evaluate_labeled(config, model, data)

    def selection_metric(self, config: Settings, *, bigger: bool) -> str:
        """``<name>_accuracy`` or ``<name>_loss``."""
        return f"{self.name}_{'accuracy' if bigger else 'loss'}"

"""A stage before finetuning that learns from labels, such as the training of a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional as F

from recbole_clickprompt import distributed
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.trainer.running_metrics import RunningMean, compute_and_reset
from recbole_clickprompt.trainer.sampling import sample
from recbole_clickprompt.trainer.stage import autocast

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from torch import nn

    from recbole_clickprompt.settings.values import Settings

__all__ = ["LabeledStageModel", "evaluate_labeled", "labeled_rows"]


class LabeledStageModel(LabeledRowsModel):
    """A ``StageModel`` that minimizes the cross entropy of clicks; precedes a model with ``forward`` in the bases.

    ``pos_weight`` and ``train_negatives`` are settings of finetuning, which stages do not read.

    Attributes:
        stage: Name of the stage, and of its objective.
        metrics: Running loss and accuracy.
    """

    stage: str

    def __init__(self, config: Settings, *arguments: object) -> None:
        super().__init__(config, *arguments)
        self.metrics: Mapping[str, RunningMean] = {self.stage: RunningMean()}

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy, a scalar; also added to ``metrics``."""
        logit, label = self(interaction), interaction[self.label_field].float()
        loss = F.binary_cross_entropy_with_logits(logit, label)
        self.metrics[self.stage].add(loss, (logit > 0) == (label > 0))
        return loss


def labeled_rows(config: Settings, train_data: AbstractDataLoader) -> Dataset:
    """The rows of a stage that reads labels: training rows, or a sample of them (``pretrain_rows``)."""
    return sample(config, train_data._dataset, "pretrain_rows")


@torch.no_grad()
def evaluate_labeled(config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
    """Loss and accuracy on rows, without dropout.

    Args:
        config: Settings of the run.
        model: A ``LabeledStageModel`` on the run's device.
        data: Loader of the rows; processes share each batch.

    Returns:
        ``<stage>_loss`` (nats) and ``<stage>_accuracy``.
    """
    assert isinstance(model, LabeledStageModel)
    device, group = config["device"], distributed.current()
    model.eval()
    compute_and_reset(model.metrics, device)  # discards the sums of training
    for interaction, *_ in data:
        parts = model.split(interaction.to(device), config["micro_batch_size"])
        for part, _ in parts[group.rank :: group.world]:
            with autocast(device, config["enable_amp"]):
                model.calculate_loss(part)
    return compute_and_reset(model.metrics, device)

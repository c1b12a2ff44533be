"""Metrics of the pretraining objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from recbole_clickprompt import distributed
from recbole_clickprompt.methods.clickprompt.mlm_evaluation import evaluate_pamlm
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.clickprompt.replaced_item import ReplacedItem
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.running_metrics import compute_and_reset

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

__all__ = ["evaluate_pretraining"]


def evaluate_pretraining(config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
    """Evaluates each objective of a pretrained model on rows that it was not trained on.

    Args:
        config: Settings of the run.
        model: A ``PAMLM`` or ``ReplacedItem`` on the run's device.
        data: Loader of the rows.

    Returns:
        The metrics of ``evaluate_pamlm``; ``replaced_item_loss`` (nats per row, replaced ones included) and
        ``replaced_item_accuracy``, with items replaced within each batch of ``data``; and ``embedding_scale``, the
        root mean square of all elements of the backbone's embedding tables.
    """
    assert isinstance(model, PAMLM | ReplacedItem)
    detector = model.detector if isinstance(model, PAMLM) else model
    return {
        **(evaluate_pamlm(config, model, data) if isinstance(model, PAMLM) else {}),
        **(_evaluate_detector(config, detector, data) if detector else {}),
        "embedding_scale": _embedding_scale(model.backbone),
    }


@torch.no_grad()
def _evaluate_detector(config: Settings, detector: ReplacedItem, data: AbstractDataLoader) -> dict[str, float]:
    """``replaced_item_loss`` and ``replaced_item_accuracy``; each batch is evaluated by one process."""
    device, group = config["device"], distributed.current()
    detector.eval()
    compute_and_reset(detector.metrics, device)  # discards the sums of training
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        for number, (interaction, *_) in enumerate(data):
            for pairs, _ in detector.split(interaction.to(device)):
                if number % group.world == group.rank:
                    detector.calculate_loss(pairs)
    return compute_and_reset(detector.metrics, device)


@torch.no_grad()
def _embedding_scale(backbone: nn.Module) -> float:
    """Root mean square of all elements of the embedding tables."""
    tables = [module.weight for module in backbone.modules() if isinstance(module, nn.Embedding)]
    squares = sum(table.square().sum().item() for table in tables)
    return (squares / sum(table.numel() for table in tables)) ** 0.5

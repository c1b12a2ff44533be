"""How well a pretrained model does what it was pretrained for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from recbole_clickprompt import distributed
from recbole_clickprompt.methods.clickprompt.mlm_evaluation import evaluate_pamlm
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.clickprompt.replaced_item import ReplacedItem
from recbole_clickprompt.trainer.running_metrics import compute_and_reset

__all__ = ["evaluate_pretraining"]


def evaluate_pretraining(config: Any, model: PAMLM | ReplacedItem, data: Any) -> dict[str, float]:
    """Figures of each of its objectives on rows that it was not trained on.

    Returns:
        As of ``evaluate_pamlm``; ``replaced_item_loss`` (nats a row) and ``replaced_item_accuracy``, whose items
        come from rows evaluated at once; and ``embedding_scale``, the root mean square of all entries of the
        backbone's embedding tables, which says how far they have grown.
    """
    detector = model.detector if isinstance(model, PAMLM) else model
    return {
        **(evaluate_pamlm(config, model, data) if isinstance(model, PAMLM) else {}),
        **(_evaluate_detector(config, detector, data) if detector else {}),
        "embedding_scale": _embedding_scale(model.backbone),
    }


@torch.no_grad()
def _evaluate_detector(config: Any, detector: ReplacedItem, data: Any) -> dict[str, float]:
    device, here = config["device"], distributed.current()
    detector.eval()
    compute_and_reset(detector.metrics, device)  # of whatever it was asked before
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        for number, (interaction, *_) in enumerate(data):
            for pairs, _ in detector.split(interaction.to(device)):
                if number % here.world == here.rank:
                    detector.calculate_loss(pairs)
    return compute_and_reset(detector.metrics, device)


@torch.no_grad()
def _embedding_scale(backbone: nn.Module) -> float:
    tables = [module.weight for module in backbone.modules() if isinstance(module, nn.Embedding)]
    squares = sum(table.square().sum().item() for table in tables)
    return (squares / sum(table.numel() for table in tables)) ** 0.5

"""Optimiser with separate learning rates, and its schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["build_optimizer", "build_scheduler"]

_LEARNERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
}


def build_optimizer(
    model: Any, *, learner: str, learning_rate: float, plm_learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Puts the PLM's parameters under a rate of their own; at rate 0 they are frozen and left out.

    Biases and normalisation weights train at the rate of their module, without weight decay.

    Args:
        model: Anything with ``parameters()`` and ``pretrained_parameters()``.
        learner: RecBole's name of an optimiser.
        learning_rate: Of all that starts new: backbone, prompts, heads.
        plm_learning_rate: Of all that comes pretrained.
        weight_decay: Of matrices and embeddings.
    """
    pretrained = {id(p) for p in model.pretrained_parameters()}
    groups = []
    for is_plm, rate in ((False, learning_rate), (True, plm_learning_rate)):
        # What LoRA froze, or a fixed fusion weight, stays frozen
        members = [p for p in model.parameters() if (id(p) in pretrained) is is_plm and p.requires_grad]
        for parameter in members:
            parameter.requires_grad_(rate > 0)
        if rate > 0:
            for matrices, decay in ((True, weight_decay), (False, 0.0)):
                params = [p for p in members if (p.ndim > 1) is matrices]
                if params:
                    groups.append({"params": params, "lr": rate, "weight_decay": decay})
    options = {"fused": True} if learner in ("adam", "adamw", "sgd", "adagrad") else {}
    return _LEARNERS[learner](groups, **options)  # type: ignore[arg-type]


def build_scheduler(optimizer: torch.optim.Optimizer, *, name: str, steps: int, warmup_ratio: float) -> LambdaLR:
    """Linear warm-up, then cosine or linear decay to 0, or a constant rate.

    Args:
        name: ``cosine``, ``linear`` or ``constant``.
        steps: Optimiser steps of the whole stage.
        warmup_ratio: Share of them that warms up.
    """
    warmup = round(steps * warmup_ratio)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min((step - warmup) / max(steps - warmup, 1), 1.0)
        if name == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1 - done if name == "linear" else 1.0

    return LambdaLR(optimizer, factor)

"""Optimiser with separate learning rates, and its schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.trainer.lazy_adam import row_tables, update_rows

__all__ = ["build_optimizer", "build_scheduler"]

_LEARNERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
}
_ROWWISE = ("adam", "adamw")


def build_optimizer(
    model: Any,
    *,
    learner: str,
    learning_rate: float,
    plm_learning_rate: float,
    weight_decay: float,
    plm_layer_decay: float = 1.0,
    rowwise_embeddings: int | None = None,
) -> torch.optim.Optimizer:
    """Puts the PLM's parameters under rates of their own; at rate 0 they are frozen and left out.

    Biases and normalisation weights train at the rate of their module, without weight decay. Tables that are
    updated row by row are a group of their own, which is ``rowwise``; what comes pretrained is ``pretrained``.

    Args:
        model: Anything with ``modules()``, ``parameters()`` and ``pretrained_parameters()``; with a
            ``plm_layer_decay`` that is not 1 it has ``pretrained_layers()`` too.
        learner: RecBole's name of an optimiser.
        learning_rate: Of all that starts new: backbone, prompts, heads.
        plm_learning_rate: Of all that comes pretrained.
        weight_decay: Of matrices and embeddings.
        plm_layer_decay: The PLM's top layer learns at its rate, each layer below at so many times that of the
            one above it, and its embeddings at the least (Howard & Ruder, ACL 2018).
        rowwise_embeddings: Rows from which on a new table is updated row by row, or None.

    Raises:
        SettingError: The learner updates no single rows.
    """
    if rowwise_embeddings is not None and learner not in _ROWWISE:
        raise SettingError(
            f"rowwise_embeddings is for the learners {' and '.join(_ROWWISE)}, got learner {learner!r}; take one "
            "of them, or leave rowwise_embeddings at None"
        )
    pretrained = model.pretrained_parameters()
    known = {id(p) for p in pretrained}
    # Where all learn alike they are one group: each costs a call of the optimiser
    layers = [pretrained] if plm_layer_decay == 1 else model.pretrained_layers()
    rates = [(learning_rate, False, [p for p in model.parameters() if id(p) not in known])]
    rates += [(plm_learning_rate * plm_layer_decay**i, True, layer) for i, layer in enumerate(reversed(layers))]
    tables = row_tables(model, rowwise_embeddings)
    groups = []
    for rate, is_pretrained, parameters in rates:
        # What LoRA froze, or a fixed fusion weight, stays frozen
        members = [p for p in parameters if p.requires_grad]
        for parameter in members:
            parameter.requires_grad_(rate > 0)
        if rate > 0:
            kinds = _by_kind(members, tables, weight_decay)
            groups += [{**kind, "lr": rate, "pretrained": is_pretrained} for kind in kinds if kind["params"]]
    options = {"fused": True} if learner in ("adam", "adamw", "sgd", "adagrad") else {}
    optimizer = _LEARNERS[learner](groups, **options)  # type: ignore[arg-type]
    if tables:
        optimizer.register_step_pre_hook(update_rows)
    return optimizer


def _by_kind(members: list[Tensor], tables: list[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    large = {id(table) for table in tables}
    rows: list[Tensor] = []
    matrices: list[Tensor] = []
    vectors: list[Tensor] = []
    for p in members:
        of_kind = matrices if p.ndim > 1 or not weight_decay else vectors
        (rows if id(p) in large else of_kind).append(p)
    return [
        {"params": rows, "weight_decay": weight_decay, "rowwise": True},
        {"params": matrices, "weight_decay": weight_decay, "rowwise": False},
        {"params": vectors, "weight_decay": 0.0, "rowwise": False},
    ]


def build_scheduler(
    optimizer: torch.optim.Optimizer, *, name: str, steps: int, warmup_ratio: float, frozen: int = 0
) -> LambdaLR:
    """Linear warm-up, then cosine or linear decay to 0, or a constant rate.

    Args:
        name: ``cosine``, ``linear`` or ``constant``.
        steps: Optimiser steps of the whole stage.
        warmup_ratio: Share of them that warms up.
        frozen: First steps in which what comes pretrained stays as it is.
    """
    warmup = round(steps * warmup_ratio)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min((step - warmup) / max(steps - warmup, 1), 1.0)
        if name == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1 - done if name == "linear" else 1.0

    def factor_once_thawed(step: int) -> float:
        return factor(step) if step >= frozen else 0.0

    pretrained = [group.get("pretrained", False) for group in optimizer.param_groups]
    return LambdaLR(optimizer, [factor_once_thawed if of_plm else factor for of_plm in pretrained])

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
    lazy_embedding_min_rows: int | None = None,
) -> torch.optim.Optimizer:
    """Puts the PLM's parameters under rates of their own; at rate 0 they are frozen and left out.

    Biases and normalization weights train at the rate of their module, without weight decay. Tables that are
    updated row by row are a separate group, which is ``rowwise``.

    Args:
        model: Anything with ``modules()``, ``parameters()`` and ``pretrained_parameters()``.
        learner: RecBole's name of an optimiser.
        learning_rate: Of all that starts new: backbone, prompts, heads.
        plm_learning_rate: Of all that comes pretrained.
        weight_decay: Of matrices and embeddings.
        lazy_embedding_min_rows: Rows from which on a new table is updated row by row, or None.

    Raises:
        SettingError: The learner updates no single rows.
    """
    if lazy_embedding_min_rows is not None and learner not in _ROWWISE:
        raise SettingError(
            f"lazy_embedding_min_rows is for the learners {' and '.join(_ROWWISE)}, got learner {learner!r}; take "
            "one of them, or leave lazy_embedding_min_rows at None"
        )
    pretrained = model.pretrained_parameters()
    known = {id(p) for p in pretrained}
    new = [p for p in model.parameters() if id(p) not in known]
    tables = row_tables(model, lazy_embedding_min_rows)
    groups = []
    for rate, parameters in ((learning_rate, new), (plm_learning_rate, pretrained)):
        # What LoRA froze, or a fixed fusion weight, stays frozen
        members = [p for p in parameters if p.requires_grad]
        for parameter in members:
            parameter.requires_grad_(rate > 0)
        if rate > 0:
            kinds = _by_kind(members, tables, weight_decay)
            groups += [{**kind, "lr": rate} for kind in kinds if kind["params"]]
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

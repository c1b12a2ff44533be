"""Optimizer with parameter groups, and its learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.trainer import rowwise_adagrad
from recbole_clickprompt.trainer.lazy_adam import row_tables, update_rows

if TYPE_CHECKING:
    from recbole_clickprompt.trainer.protocols import Trainable

__all__ = ["build_optimizer", "build_scheduler"]

_LEARNERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "rowwise_adagrad": torch.optim.Adagrad,
}
_ROWWISE = ("adam", "adamw")


def build_optimizer(
    model: Trainable,
    *,
    learner: str,
    learning_rate: float,
    plm_learning_rate: float,
    weight_decay: float,
    lazy_embedding_min_rows: int | None = None,
) -> torch.optim.Optimizer:
    """Builds an optimizer with a separate learning rate for pretrained parameters; at rate 0 they are frozen.

    Biases and normalization weights have no weight decay. Tables with row-wise updates are a group of their own,
    with ``rowwise`` set. ``rowwise_adagrad`` updates all tables so, and other weights by Adagrad.

    Args:
        model: The model; only ``modules``, ``parameters`` and ``pretrained_parameters`` are used.
        learner: RecBole's name of the optimizer.
        learning_rate: For all parameters that are not pretrained: backbone, prompts, heads.
        plm_learning_rate: For pretrained parameters.
        weight_decay: Weight decay of matrices and embeddings.
        lazy_embedding_min_rows: Tables of at least this many rows are updated row by row; None for no table.

    Raises:
        SettingError: The optimizer does not support row-wise updates.
    """
    if lazy_embedding_min_rows is not None and learner not in _ROWWISE:
        raise SettingError(
            f"lazy_embedding_min_rows requires learner {' or '.join(_ROWWISE)}, got {learner!r}; use one of them, "
            "or leave lazy_embedding_min_rows at None"
        )
    pretrained = model.pretrained_parameters()
    pretrained_ids = {id(p) for p in pretrained}
    new = [p for p in model.parameters() if id(p) not in pretrained_ids]
    row_wise = learner == "rowwise_adagrad"
    tables = row_tables(model, 1 if row_wise else lazy_embedding_min_rows)
    groups = []
    for rate, parameters in ((learning_rate, new), (plm_learning_rate, pretrained)):
        # Parameters frozen by LoRA, and a fixed fusion weight, stay frozen
        members = [p for p in parameters if p.requires_grad]
        for parameter in members:
            parameter.requires_grad_(rate > 0)
        if rate > 0:
            kinds = _by_kind(members, tables, weight_decay)
            groups += [{**kind, "lr": rate} for kind in kinds if kind["params"]]
    options: dict[str, Any] = {"fused": True} if learner != "rmsprop" else {}
    if not row_wise:
        optimizer = _LEARNERS[learner](groups, **options)
        if tables:
            optimizer.register_step_pre_hook(update_rows)
        return optimizer
    # Adagrad allocates its sums when it is built, as many as weights; tables have fewer
    optimizer = torch.optim.Adagrad(
        [group for group in groups if not group["rowwise"]], eps=rowwise_adagrad.EPS, **options
    )
    for group in groups:
        if group["rowwise"]:
            optimizer.add_param_group(group)
    optimizer.register_step_pre_hook(rowwise_adagrad.update_rows)
    return optimizer


def _by_kind(members: Sequence[Tensor], tables: Sequence[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    large = {id(table) for table in tables}
    rows: list[Tensor] = []
    matrices: list[Tensor] = []
    vectors: list[Tensor] = []
    for p in members:
        dense = matrices if p.ndim > 1 or not weight_decay else vectors
        (rows if id(p) in large else dense).append(p)
    return [
        {"params": rows, "weight_decay": weight_decay, "rowwise": True},
        {"params": matrices, "weight_decay": weight_decay, "rowwise": False},
        {"params": vectors, "weight_decay": 0.0, "rowwise": False},
    ]


def build_scheduler(optimizer: torch.optim.Optimizer, *, name: str, steps: int, warmup_ratio: float) -> LambdaLR:
    """Linear warm-up, then cosine or linear decay to 0, or a constant rate.

    Args:
        name: ``cosine``, ``linear`` or ``constant``.
        steps: Optimizer steps of the whole stage.
        warmup_ratio: Fraction of the steps used for warm-up.
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

"""Lazy Adam and AdamW for large embedding tables: a step reads and writes only the rows of its batch.

As in ``torch.optim.SparseAdam``, the weights and moments of a row that a step does not read are unchanged: no
weight decay, no update by momentum. Bias correction uses the number of steps, not the number of updates of a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

if TYPE_CHECKING:
    from recbole_clickprompt.trainer.protocols import Trainable

__all__ = ["clip_gradients", "row_tables", "update_rows"]


def row_tables(model: Trainable, at_least: int | None) -> list[Tensor]:
    """Finds the large embedding tables of the backbone and makes their gradients sparse.

    The PLM's tables stay dense: in pretraining, its LM head reads the whole word embedding table.

    Args:
        model: The model; only ``modules`` and ``pretrained_parameters`` are used.
        at_least: Minimum number of rows; None for no tables.

    Returns:
        Tables, each ``(rows, d)``.
    """
    pretrained = {id(p) for p in model.pretrained_parameters()}
    tables = []
    for module in model.modules():
        if isinstance(module, nn.Embedding) and id(module.weight) not in pretrained:
            module.sparse = at_least is not None and module.num_embeddings >= at_least
            if module.sparse:
                tables.append(module.weight)
    return tables


@torch.no_grad()
def update_rows(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Updates the ``rowwise`` parameter groups: a step pre-hook of ``Adam`` or ``AdamW``.

    It sets the gradients of these tables to None, so that the optimizer itself skips them, and stores their
    moments in the optimizer's state, so that its ``state_dict`` has the usual layout.
    """
    decoupled = isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        if group.get("rowwise"):
            for table in group["params"]:
                if table.grad is not None:
                    _update(table, table.grad.coalesce(), optimizer.state[table], group, decoupled=decoupled)
                    table.grad = None


def _update(
    table: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any], *, decoupled: bool
) -> None:
    """One step for the R rows in a coalesced gradient; other rows are not read."""
    if not state:
        state["step"] = torch.zeros((), device=table.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
    state["step"] += 1
    step, rate, decay, (beta1, beta2) = state["step"].item(), group["lr"], group["weight_decay"], group["betas"]
    rows, slope = gradient.indices()[0], gradient.values()  # (R,), (R, d)
    tables = (table, state["exp_avg"], state["exp_avg_sq"])  # each (rows of the table, d)
    weight, first, second = (full.index_select(0, rows) for full in tables)  # (R, d)
    if decoupled:
        weight.mul_(1 - rate * decay)
    elif decay:
        slope = slope.add(weight, alpha=decay)
    first.lerp_(slope, 1 - beta1)
    second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
    spread = second.sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    weight.addcdiv_(first, spread, value=-rate / (1 - beta1**step))
    for full, part in zip(tables, (weight, first, second), strict=True):
        full.index_copy_(0, rows, part)


def clip_gradients(parameters: Iterable[Tensor], *, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """``clip_grad_norm_`` with support for sparse gradients, which are coalesced first.

    Args:
        parameters: Parameters; those without gradient are skipped.
        max_norm: As in ``clip_grad_norm_``.
        norm_type: As in ``clip_grad_norm_``.

    Returns:
        Norm of all gradients before clipping.
    """
    carriers = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values = parameter.grad.values()  # (R, d), shares memory with the gradient
            parameter = torch.empty_like(values)
            parameter.grad = values
        carriers.append(parameter)
    return clip_grad_norm_(carriers, max_norm, norm_type)

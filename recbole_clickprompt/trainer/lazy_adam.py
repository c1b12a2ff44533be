"""Row-wise updates of large embedding tables: a step reads and writes the rows of its batch alone.

Also called lazy updates, as ``torch.optim.SparseAdam`` makes them. In a step that does not read a row its weights
neither decay nor move on by their momentum, and its moments stay as they are; bias is corrected by the number of
steps, not by that of a row's updates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

__all__ = ["clip_gradients", "row_tables", "update_rows"]


def row_tables(model: Any, at_least: int | None) -> list[Tensor]:
    """The backbone's embedding tables, ``(rows, d)``, of at least so many rows; makes their gradients sparse.

    The PLM's tables stay dense: in pretraining its LM head reads that of the words in whole.

    Args:
        model: Anything with ``modules()`` and ``pretrained_parameters()``.
        at_least: Rows; None for no table.
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
def update_rows(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Takes the step of the groups that are ``rowwise``: a pre-hook of the steps of ``Adam`` or ``AdamW``.

    It leaves these tables without gradient, whereupon the optimiser itself passes over them, and keeps their
    moments where the optimiser would, so that its ``state_dict`` is that of any other.
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
    """One step of the R rows that a coalesced gradient has, each once; of the others nothing is read."""
    if not state:
        state["step"] = torch.zeros((), device=table.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
    state["step"] += 1
    step, rate, decay, (beta1, beta2) = state["step"].item(), group["lr"], group["weight_decay"], group["betas"]
    rows, slope = gradient.indices()[0], gradient.values()  # (R,), (R, d)
    wholes = (table, state["exp_avg"], state["exp_avg_sq"])
    weight, first, second = (whole.index_select(0, rows) for whole in wholes)
    if decoupled:
        weight.mul_(1 - rate * decay)
    elif decay:
        slope = slope.add(weight, alpha=decay)
    first.lerp_(slope, 1 - beta1)
    second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
    spread = second.sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    weight.addcdiv_(first, spread, value=-rate / (1 - beta1**step))
    for whole, part in zip(wholes, (weight, first, second), strict=True):
        whole.index_copy_(0, rows, part)


def clip_gradients(parameters: Iterable[Tensor], **how: Any) -> Tensor:
    """``clip_grad_norm_`` that also takes sparse gradients; what a row gets from several places counts as its sum.

    Args:
        parameters: Those without gradient are passed over.
        how: As for ``clip_grad_norm_``.

    Returns:
        Norm of all gradients before.
    """
    carriers = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values = parameter.grad.values()  # (R, d), the very memory of the gradient
            parameter = torch.empty_like(values)
            parameter.grad = values
        carriers.append(parameter)
    return clip_grad_norm_(carriers, **how)

"""Row-wise Adagrad: one accumulated number per row of an embedding table instead of one per weight."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["EPS", "update_rows"]

EPS = 1e-10  # torch's default for Adagrad, which updates the other weights


@torch.no_grad()
def update_rows(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Updates the ``rowwise`` parameter groups: a step pre-hook of ``Adagrad``.

    With the gradient g of a row, ``(d,)``, as in FBGEMM::

        sum    <- sum + mean(g ** 2)
        weight <- weight - learning rate * g / (sqrt(sum) + eps)

    Rows that a step does not read are unchanged. Gradients are set to None, so that the optimizer itself skips
    these tables.
    """
    for group in optimizer.param_groups:
        if group.get("rowwise"):
            for table in group["params"]:
                if table.grad is not None:
                    _update(table, table.grad.coalesce(), optimizer.state[table], group["lr"])
                    table.grad = None


def _update(table: Tensor, gradient: Tensor, state: dict[str, Tensor], rate: float) -> None:
    """One step for the R rows in a coalesced gradient."""
    if not state:
        state["step"] = torch.zeros((), device=table.device)  # every state of Adagrad has one
        state["sum"] = table.new_zeros(len(table))
    state["step"] += 1
    rows, slope = gradient.indices()[0], gradient.values()  # (R,), (R, d)
    sums = state["sum"].index_select(0, rows).add_(slope.square().mean(1))  # (R,)
    state["sum"].index_copy_(0, rows, sums)
    weight = table.index_select(0, rows).addcdiv_(slope, sums.sqrt().add_(EPS).unsqueeze(1), value=-rate)
    table.index_copy_(0, rows, weight)

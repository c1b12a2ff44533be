"""Checks that our model and the reference implementation have equal losses and scores before timing them."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction

from benchmarks.stages.job import Contender
from benchmarks.stages.workload import Workload
from recbole_clickprompt.errors import UserError
from recbole_clickprompt.trainer.protocols import Trainable

__all__ = ["TOLERANCE", "UnequalError", "check_curves", "check_stage"]

TOLERANCE = 1e-5
_CURVE_TOLERANCE = 1e-3  # of the mean loss of an epoch, in which rounding errors accumulate
_BATCHES = 2


class UnequalError(UserError):
    """Two implementations of one model that must agree do not."""


def check_stage(workload: Workload, stage: str, batch: int) -> float:
    """Compares our model, in float32, without dropout and with the same masks, to the reference implementation.

    Returns:
        The largest difference of losses (of scores in inference), relative for values above 1.

    Raises:
        UnequalError: It is above ``TOLERANCE``.
    """
    _, reference = workload.plm_model(stage, Contender("reference", "reference"))
    config, ours = workload.plm_model(stage, Contender("ours", "ours"))
    reference.eval(), ours.eval()
    worst = 0.0
    for number in range(_BATCHES):
        rows = workload.rows(number, batch)
        with torch.no_grad():
            torch.manual_seed(number)
            expected = reference.predict(rows) if stage == "inference" else reference.calculate_loss(rows)
            torch.manual_seed(number)
            actual = ours.predict(rows) if stage == "inference" else _loss(ours, rows, config["micro_batch_size"])
        difference = (expected - actual).abs() / expected.abs().clamp(min=1.0)
        worst = max(worst, float(difference.max()))
    if not worst <= TOLERANCE:
        raise UnequalError(
            f"{stage}, batch {batch}: our model differs from the reference by {worst:.2e}, more than "
            f"{TOLERANCE:g}; nothing was timed"
        )
    return worst


def _loss(model: Trainable, rows: Interaction, micro_batch_size: int) -> torch.Tensor:
    parts = model.split(rows, micro_batch_size)
    return torch.stack([weight * model.calculate_loss(part) for part, weight in parts]).sum()


def check_curves(losses: dict[str, float], first: str, second: str) -> None:
    """Compares the mean training losses of two contenders' first epochs.

    Raises:
        UnequalError: They differ by more than 1e-3.
    """
    difference = abs(losses[first] - losses[second])
    if not difference <= _CURVE_TOLERANCE:
        raise UnequalError(
            f"the first epochs of {first} and {second} have mean losses {losses[first]:.5f} and "
            f"{losses[second]:.5f}; they must agree to {_CURVE_TOLERANCE:g}"
        )

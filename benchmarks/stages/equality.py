"""The plain form and ours give the same losses and scores, or a comparison of their speed means nothing."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.stages.job import Contender
from benchmarks.stages.workload import Workload
from recbole_clickprompt.errors import UserError

__all__ = ["TOLERANCE", "UnequalError", "check_curves", "check_stage"]

TOLERANCE = 1e-5
_CURVE_TOLERANCE = 1e-3  # of the mean loss of an epoch, over which rounding adds up
_BATCHES = 2


class UnequalError(UserError):
    """Two forms of one model that must agree do not."""


def check_stage(workload: Workload, stage: str, batch: int) -> float:
    """Holds ours in float32, without dropout and on the same masks, to the plain form.

    Returns:
        The largest difference of losses (of scores where nothing is trained), relative where these are above 1.

    Raises:
        UnequalError: It is above ``TOLERANCE``.
    """
    _, plain = workload.plm_model(stage, Contender("plain", "reference"))
    config, ours = workload.plm_model(stage, Contender("ours", "ours"))
    plain.eval(), ours.eval()
    worst = 0.0
    for number in range(_BATCHES):
        rows = workload.rows(number, batch)
        with torch.no_grad():
            torch.manual_seed(number)
            theirs = plain.predict(rows) if stage == "inference" else plain.calculate_loss(rows)
            torch.manual_seed(number)
            own = ours.predict(rows) if stage == "inference" else _loss(ours, rows, config["micro_batch_size"])
        difference = (theirs - own).abs() / theirs.abs().clamp(min=1.0)
        worst = max(worst, float(difference.max()))
    if not worst <= TOLERANCE:
        raise UnequalError(
            f"{stage}, batch {batch}: ours differs from the plain form by {worst:.2e}, above {TOLERANCE:g}; "
            "nothing was timed"
        )
    return worst


def _loss(model: Any, rows: Any, micro_batch_size: int) -> torch.Tensor:
    parts = model.split(rows, micro_batch_size)
    return torch.stack([weight * model.calculate_loss(part) for part, weight in parts]).sum()


def check_curves(losses: dict[str, float], first: str, second: str) -> None:
    """Holds the mean training losses of two contenders' first epochs to each other.

    Raises:
        UnequalError: They differ by more than 1e-3.
    """
    difference = abs(losses[first] - losses[second])
    if not difference <= _CURVE_TOLERANCE:
        raise UnequalError(
            f"the first epochs of {first} and {second} have mean losses {losses[first]:.5f} and "
            f"{losses[second]:.5f}; they must agree to {_CURVE_TOLERANCE:g}"
        )

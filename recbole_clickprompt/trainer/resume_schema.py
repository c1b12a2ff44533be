"""What the state of an unfinished training is made of; checked as a whole before any of it is used."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recbole_clickprompt.trainer.random_state import random_states, restore_random_states

__all__ = ["fault_of_state"]

_MOST = 10**9  # epochs and batches, far more than any training has


def fault_of_state(state: dict[str, Any], *, device: torch.device) -> str:
    """In words, the first part of a state that is missing or not what was written; empty if there is none.

    Args:
        state: Of plain values and tensors.
        device: Of this run, on which its random states are tried.
    """
    for name, (holds, expected) in _PARTS.items():
        if name not in state:
            return f"it has no {name}"
        if not holds(state[name]):
            return f"its {name} is not {expected}"
    if len(state["order"]) != len(state["random"]):
        return "its order and its random states are of different numbers of processes"
    before = random_states(device)
    try:
        for began, now in zip(state["order"], state["random"], strict=True):
            restore_random_states(began["random"], device)
            restore_random_states(now, device)
            if began["loader"] is not None:
                torch.Generator().set_state(began["loader"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        return f"its random states cannot be restored: {' '.join(str(error).split())[:100]}"
    finally:
        restore_random_states(before, device)
    return ""


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and not math.isnan(value)


def _is_progress(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"epoch", "batches", "loss"}
        and _is_count(value["epoch"])
        and _is_count(value["batches"])
        and _is_number(value["loss"])
    )


def _are_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and bool(torch.isfinite(tensor).all())
        for name, tensor in value.items()
    )


def _is_optimizer(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("state"), dict)
        and all(isinstance(entry, dict) for entry in value["state"].values())
        and isinstance(value.get("param_groups"), list)
        and all(
            isinstance(group, dict) and _is_number(group.get("lr")) and isinstance(group.get("params"), list)
            for group in value["param_groups"]
        )
    )


def _is_scheduler(value: Any) -> bool:
    return isinstance(value, dict) and _is_count(value.get("last_epoch"))


def _is_order(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(rank, dict) and {"random", "loader"} <= rank.keys() and isinstance(rank["random"], dict)
        for rank in value
    )


def _are_states(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(rank, dict) for rank in value)


def _is_own(value: Any) -> bool:
    """The stage's own part: running sums of pretraining, or what RecBole's ``fit`` remembers."""
    if not isinstance(value, dict):
        return False
    if "tallies" in value:
        return (
            isinstance(value["tallies"], dict)
            and all(
                isinstance(sums, list | tuple) and len(sums) == 3 and all(map(_is_number, sums))
                for sums in value["tallies"].values()
            )
            and ("best" not in value or _is_best(value["best"]))
        )
    best = value.get("best_valid_result")
    losses = value.get("train_loss_dict")
    return (
        _is_count(value.get("cur_step"))
        and _is_number(value.get("best_valid_score"))
        and (best is None or (isinstance(best, dict) and all(map(_is_number, best.values()))))
        and isinstance(losses, dict)
        and all(_is_count(epoch) and _is_number(loss) for epoch, loss in losses.items())
        and isinstance(value.get("saved_model_file"), str)
    )


def _is_best(value: Any) -> bool:
    """The best weights of a validated stage so far; without any, the epoch is -1."""
    return (
        isinstance(value, dict)
        and type(value.get("epoch")) is int
        and -1 <= value["epoch"] < _MOST
        and _is_count(value.get("stale"))
        and _is_number(value.get("loss"))
        and _are_weights(value.get("weights"))
    )


_PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "progress": (_is_progress, "an epoch, its batches and their loss"),
    "model": (_are_weights, "a mapping of names to finite weights"),
    "optimizer": (_is_optimizer, "the state of an optimizer"),
    "scheduler": (_is_scheduler, "the state of a learning rate schedule"),
    "order": (_is_order, "a list of random states, one per process"),
    "random": (_are_states, "a list of random states, one per process"),
    "own": (_is_own, "what the stage remembers between epochs"),
}

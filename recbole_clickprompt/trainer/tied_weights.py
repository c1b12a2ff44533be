"""Tied weights, which are one tensor under several names and are stored once."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from recbole_clickprompt.trainer.protocols import Module

__all__ = ["storage", "tied", "without_ties"]


def storage(tensor: torch.Tensor) -> tuple[int, torch.Size]:
    """Equal for tied weights, and for empty tensors of one shape."""
    return tensor.data_ptr(), tensor.shape


def without_ties(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a ``state_dict`` on the CPU, of tied ones only the first; empty ones count as separate."""
    tensors: dict[str, torch.Tensor] = {}
    written = set()
    for name, tensor in state.items():
        if storage(tensor) not in written or not tensor.numel():
            written.add(storage(tensor))
            tensors[name] = tensor.contiguous().cpu()
    return tensors


def tied(module: Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tied weights of a module under those of their names that the result of ``without_ties`` lacks."""
    expected = module.state_dict()
    stored = {storage(expected[name]): tensor for name, tensor in state.items() if name in expected}
    return {
        name: stored[storage(tensor)]
        for name, tensor in expected.items()
        if name not in state and storage(tensor) in stored
    }

"""The states of all random number generators that training uses."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

__all__ = ["random_states", "restore_random_states"]


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of torch, the device, NumPy and Python, as tensors and plain values."""
    version, words, spare = random.getstate()
    name, keys, position, has_spare, numpy_spare = np.random.get_state()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": (version, torch.tensor(words), spare),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_spare, numpy_spare),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restores a result of ``random_states``; the device's state only if both devices are GPUs."""
    torch.set_rng_state(states["torch"])
    version, words, spare = states["python"]
    random.setstate((version, tuple(words.tolist()), spare))
    name, keys, position, has_spare, numpy_spare = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_spare, numpy_spare))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)

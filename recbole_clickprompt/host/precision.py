"""Where bf16 saves time: what ``enable_amp: auto`` means, and a warning where True is slow."""

from __future__ import annotations

import functools
from logging import getLogger

import torch
from recbole.config import Config

__all__ = ["install"]


def install() -> None:
    """Makes configs replace ``enable_amp: auto`` by True or False as soon as the device of the run is known."""
    init_device = Config._init_device

    @functools.wraps(init_device)
    def init_device_and_precision(self: Config) -> None:
        init_device(self)
        values = self.final_config_dict
        if values.get("enable_amp") == "auto":
            values["enable_amp"] = _is_faster(values["device"])
        elif values.get("enable_amp") and not _has_instructions(values["device"]):
            getLogger().warning(
                f"enable_amp: True computes in bf16, for which this {values['device'].type.upper()} has no "
                "instructions: training and predictions can take ten times as long, or longer; use enable_amp: "
                "False, or auto"
            )

    Config._init_device = init_device_and_precision


def _is_faster(device: torch.device) -> bool:
    # With AVX-512 alone, a PLM takes longer in bf16 than in float32 (docs/performance.md), with AMX less
    slow = device.type == "cpu" and torch.cpu._is_avx512_supported() and not torch.cpu._is_amx_tile_supported()
    return _has_instructions(device) and not slow


def _has_instructions(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # What torch asks before it chooses its fast kernels for bf16: AVX-512 or later, or the like on ARM
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

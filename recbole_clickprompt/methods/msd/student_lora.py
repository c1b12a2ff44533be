"""Low-rank adapters (LoRA, Hu et al., ICLR 2022) in layers of the student."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from recbole_clickprompt.errors import SettingError

__all__ = ["add_lora"]


def add_lora(layers: nn.ModuleList, settings: Mapping[str, Any], *, family: str) -> float:
    """Adds adapters to layers in place and freezes all of their other weights.

    Args:
        layers: Layers of a transformers model.
        settings: The setting ``plm_lora``: rank ``r`` (8 if missing), ``alpha`` (16), ``dropout`` (0) and
            ``target_modules`` (queries and values; in GPT-2 they are one product with the keys).
        family: transformers' model type, which names these modules.

    Returns:
        alpha / r, by which the adapters' part is multiplied.

    Raises:
        SettingError: peft is not installed, does not know the family, or rejects the settings.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    except ImportError as error:
        raise SettingError("plm_lora needs the package peft: pip install 'recbole-clickprompt[lora]'") from error
    targets = settings.get("target_modules", TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(family))
    if targets is None:
        raise SettingError(f"plm_lora: set target_modules for a student of the family {family!r}")
    rank, width = settings.get("r", 8), max(max(weight.shape) for weight in layers[0].parameters())
    if rank > width:
        raise SettingError(
            f"plm_lora: r is {rank}, more than the width of the student's layers, {width}; lower it"
        )
    alpha = settings.get("alpha", 16)
    try:
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=settings.get("dropout", 0.0),
            target_modules=targets,
            fan_in_fan_out=family == "gpt2",  # its weights are stored transposed
        )
        for layer in layers:
            inject_adapter_in_model(config, layer)
    except re.error as error:
        raise SettingError(
            f"plm_lora: target_modules {targets!r} is not a regular expression ({error}); give a list of names"
        ) from error
    except ValueError as error:
        raise SettingError(f"plm_lora: {error}") from error
    return alpha / rank

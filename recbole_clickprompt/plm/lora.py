"""Low-rank adapters (LoRA, Hu et al., ICLR 2022) inside a PLM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.architectures import build_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["add_lora"]


def add_lora(encoder: PreTrainedModel, settings: Mapping[str, Any]) -> None:
    """Adds LoRA adapters to a PLM in place and freezes all of its other weights.

    Args:
        encoder: transformers' base model.
        settings: The setting ``plm_lora``: rank ``r`` (8 if missing), ``alpha`` (16), ``dropout`` (0) and
            ``target_modules`` (the family's ``lora_targets``).

    Raises:
        SettingError: peft is not installed, or it rejects the settings.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise SettingError("plm_lora needs the package peft: pip install 'recbole-clickprompt[lora]'") from error
    rank, width = settings.get("r", 8), encoder.config.hidden_size
    if rank > width:
        raise SettingError(f"plm_lora: r is {rank}, more than the width of the PLM's states, {width}; lower it")
    try:
        lora = LoraConfig(
            r=rank,
            lora_alpha=settings.get("alpha", 16),
            lora_dropout=settings.get("dropout", 0.0),
            target_modules=settings.get("target_modules", list(build_adapter(encoder).lora_targets)),
        )
        inject_adapter_in_model(lora, encoder)
    except re.error as error:
        raise SettingError(
            f"plm_lora: target_modules {settings['target_modules']!r} is not a regular expression "
            f"({error}); give a list of names"
        ) from error
    except ValueError as error:
        raise SettingError(f"plm_lora: {error}") from error

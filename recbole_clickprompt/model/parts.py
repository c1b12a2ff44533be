"""The parts of a run's models, as its config says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from recbole_clickprompt.data.masking import NextTokens, TokenMasker
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.model.backbone.adapter import Backbone, build_backbone
from recbole_clickprompt.model.pamlm import PAMLM
from recbole_clickprompt.model.plm.encoder import InputPromptedEncoder, PromptedEncoder, SharedPromptedEncoder
from recbole_clickprompt.model.plm.layouts import LAYOUTS
from recbole_clickprompt.model.plm.loading import LanguageModel, load_plm
from recbole_clickprompt.model.plm.weights import find_plm
from recbole_clickprompt.model.prompt import PromptGenerator, SharedPromptGenerator

__all__ = ["Parts", "build_pamlm", "build_parts"]

# (prompt_strategy, prompt_projection): the encoder and what generates its prompts
_VARIANTS: dict[tuple[str, str], tuple[type[PromptedEncoder], type[nn.Module]]] = {
    ("layerwise", "per_prompt"): (PromptedEncoder, PromptGenerator),
    ("layerwise", "shared_kv"): (SharedPromptedEncoder, SharedPromptGenerator),
    ("input", "per_prompt"): (InputPromptedEncoder, PromptGenerator),
}


class Parts(NamedTuple):
    """What pretraining and finetuning with the PLM have in common."""

    backbone: Backbone
    prompt: nn.Module
    plm: PromptedEncoder
    language_model: LanguageModel


def build_parts(config: Any, dataset: Any) -> Parts:
    """Backbone and prompts freshly initialised, the PLM from its files.

    Raises:
        SettingError: ``prompt_strategy`` and ``prompt_projection`` exclude each other, or ``plm_lora`` is refused.
        WeightsError: The PLM cannot be had.
    """
    variant = (config["prompt_strategy"], config["prompt_projection"])
    if variant not in _VARIANTS:
        raise SettingError(
            "prompt_projection: shared_kv gives keys and values of a layer, which prompt_strategy: input has no "
            "place for; use per_prompt"
        )
    encoder_class, generator_class = _VARIANTS[variant]
    backbone = build_backbone(config, dataset)
    language_model = load_plm(
        find_plm(config["plm"]), num_layers=config["plm_num_layers"], dropout=config["plm_dropout"]
    )
    if config["plm_lora"]:
        _add_lora(language_model.encoder, config["plm_lora"])
    plm = encoder_class(language_model.encoder, gradient_checkpointing=config["plm_gradient_checkpointing"])
    prompt = generator_class(
        input_size=backbone.width(dataset[torch.arange(min(2, len(dataset)))]),
        num_layers=plm.prompt_layers,
        num_prompts=config["num_prompts"],
        hidden_size=plm.hidden_size,
    )
    return Parts(backbone, prompt, plm, language_model)


def _add_lora(encoder: Any, settings: Mapping[str, Any]) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise SettingError("plm_lora needs the package peft: pip install 'recbole-clickprompt[lora]'") from error
    targets = LAYOUTS[encoder.config.model_type].lora_targets
    try:
        lora = LoraConfig(
            r=settings.get("r", 8),
            lora_alpha=settings.get("alpha", 16),
            lora_dropout=settings.get("dropout", 0.0),
            target_modules=settings.get("target_modules", list(targets)),
        )
        inject_adapter_in_model(lora, encoder)
    except ValueError as error:
        raise SettingError(f"plm_lora: {error}") from error


def build_pamlm(config: Any, dataset: Any) -> PAMLM:
    """The pretraining model of a config."""
    parts = build_parts(config, dataset)
    tokenizer = dataset.tokenizer(config["plm"])
    masker: TokenMasker | NextTokens = NextTokens()
    if not parts.plm.causal:
        masker = TokenMasker(
            mask_ratio=config["mask_ratio"],
            mask_id=tokenizer.mask_token_id,
            special_ids=tokenizer.all_special_ids,
            vocab_size=len(tokenizer),
        )
    return PAMLM(
        backbone=parts.backbone,
        prompt=parts.prompt,
        plm=parts.plm,
        lm_head=parts.language_model.lm_head,
        new_head=parts.language_model.head_is_new,
        tokens=dataset.token_table(config["plm"]),
        masker=masker,
    )

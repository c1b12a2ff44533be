"""The parts of a run's models, as its config says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.model.backbone.adapter import Backbone, build_backbone
from recbole_clickprompt.model.pamlm import PAMLM
from recbole_clickprompt.model.plm.encoder import PromptedEncoder, SharedPromptedEncoder
from recbole_clickprompt.model.plm.heads import TokenHead, restrict_vocabulary
from recbole_clickprompt.model.plm.input_prompts import InputPromptedEncoder
from recbole_clickprompt.model.plm.layouts import LAYOUTS
from recbole_clickprompt.model.plm.loading import LanguageModel, load_plm
from recbole_clickprompt.model.plm.weights import find_plm
from recbole_clickprompt.model.prompt import PromptGenerator, SharedPromptGenerator
from recbole_clickprompt.model.replaced_item import ReplacedItem, item_fields
from recbole_clickprompt.model.text import build_masked_text

__all__ = ["Parts", "build_pamlm", "build_parts", "build_pretraining"]

# (prompt_strategy, prompt_projection): the encoder and what generates its prompts
_VARIANTS: dict[tuple[str, str], tuple[type[PromptedEncoder], type[PromptGenerator | SharedPromptGenerator]]] = {
    ("layerwise", "per_prompt"): (PromptedEncoder, PromptGenerator),
    ("layerwise", "shared_kv"): (SharedPromptedEncoder, SharedPromptGenerator),
    ("input", "per_prompt"): (InputPromptedEncoder, PromptGenerator),
}


class Parts(NamedTuple):
    """What pretraining and finetuning with the PLM have in common."""

    backbone: Backbone
    prompt: PromptGenerator | SharedPromptGenerator
    plm: PromptedEncoder
    language_model: LanguageModel


def build_parts(config: Any, dataset: Any) -> Parts:
    """Backbone and prompts freshly initialised, the PLM from its files.

    Raises:
        SettingError: ``prompt_strategy`` and ``prompt_projection`` exclude each other, or the PLM does not go with
            ``plm_lora``, ``plm_joint_layers`` or ``plm_layer_decay``.
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
    family = language_model.encoder.config.model_type
    if config["plm_layer_decay"] != 1 and LAYOUTS[family].shares_layers:
        raise SettingError(
            f"plm_layer_decay: the layers of a {family!r} model are one, so none can learn slower than another; "
            "leave it at 1, or lower plm_learning_rate"
        )
    if config["plm_lora"]:
        _add_lora(language_model.encoder, config["plm_lora"])
    plm = encoder_class(
        language_model.encoder,
        gradient_checkpointing=config["plm_gradient_checkpointing"],
        first_layer=_first_joint_layer(config, language_model.encoder),
    )
    prompt = generator_class(
        input_size=_width(backbone, dataset),
        num_layers=plm.prompt_layers,
        num_prompts=config["num_prompts"],
        hidden_size=plm.hidden_size,
    )
    return Parts(backbone, prompt, plm, language_model)


def _first_joint_layer(config: Any, encoder: Any) -> int:
    """0 where all layers see whole rows."""
    count, layers = config["plm_joint_layers"], encoder.config.num_hidden_layers
    if count is None or count == layers:
        return 0
    if count > layers:
        raise SettingError(f"plm_joint_layers is {count}, but there are {layers} layers (plm_num_layers)")
    family = encoder.config.model_type
    if not LAYOUTS[family].separable:
        raise SettingError(
            f"plm_joint_layers: the lower layers of a {family!r} model cannot be run apart from its upper ones; "
            "leave it at None, or use a BERT, RoBERTa, ELECTRA, DistilBERT, DeBERTa, ModernBERT or GPT-2"
        )
    if config["prompt_strategy"] == "input":
        raise SettingError(
            "plm_joint_layers leaves the lower layers without prompts, which prompt_strategy: input puts in front "
            "of the first one; use layerwise"
        )
    return layers - count


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
    except re.error as error:
        raise SettingError(
            f"plm_lora: target_modules {settings['target_modules']!r} is no regular expression ({error}); give a "
            "list of names"
        ) from error
    except ValueError as error:
        raise SettingError(f"plm_lora: {error}") from error


def build_pretraining(config: Any, dataset: Any) -> PAMLM | ReplacedItem:
    """The model of the pretraining stage, as ``pretrain_objectives`` says."""
    if "mlm" in config["pretrain_objectives"]:
        return build_pamlm(config, dataset)
    return _detector(build_backbone(config, dataset), dataset)


def _detector(backbone: Backbone, dataset: Any) -> ReplacedItem:
    return ReplacedItem(backbone=backbone, input_size=_width(backbone, dataset), fields=item_fields(dataset))


def _width(backbone: Backbone, dataset: Any) -> int:
    return backbone.width(dataset[torch.arange(min(2, len(dataset)))])


def build_pamlm(config: Any, dataset: Any) -> PAMLM:
    """PA-MLM, with what else ``pretrain_objectives`` asks of its backbone."""
    parts = build_parts(config, dataset)
    lm_head, vocabulary = parts.language_model.lm_head, None
    if config["pretrain_vocabulary"] == "data":
        if not isinstance(lm_head, TokenHead):
            raise SettingError(
                "pretrain_vocabulary: data is for PLMs with an LM head, not with a decoder; use plm"
            )
        vocabulary = dataset.token_table(config["plm"]).vocabulary()
        lm_head = TokenHead(restrict_vocabulary(lm_head.head, vocabulary))
    return PAMLM(
        backbone=parts.backbone,
        prompt=parts.prompt,
        plm=parts.plm,
        lm_head=lm_head,
        new_head=parts.language_model.head_is_new,
        text=build_masked_text(config, dataset, parts.plm),
        vocabulary=vocabulary,
        detector=_detector(parts.backbone, dataset) if "replaced_item" in config["pretrain_objectives"] else None,
        detector_weight=config["replaced_item_weight"],
    )

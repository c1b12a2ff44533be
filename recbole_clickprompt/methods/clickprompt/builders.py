"""Builds the parts of a run's models from its settings."""

from __future__ import annotations

from typing import NamedTuple

import torch

from recbole_clickprompt.backbones.adapter import Backbone, build_backbone
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.clickprompt.input_prompts import InputPromptedEncoder
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator, SharedPromptGenerator
from recbole_clickprompt.methods.clickprompt.replaced_item import ReplacedItem, item_fields
from recbole_clickprompt.plm.builders import build_encoder, build_lm_head
from recbole_clickprompt.plm.encoder import PromptedEncoder, SharedPromptedEncoder
from recbole_clickprompt.plm.loading import LanguageModel
from recbole_clickprompt.plm.text_inputs import build_masked_text
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource

__all__ = ["Components", "build_components", "build_pamlm", "build_pretraining"]

# (prompt_strategy, prompt_projection): the encoder and the generator of its prompts
_VARIANTS: dict[tuple[str, str], tuple[type[PromptedEncoder], type[PromptGenerator | SharedPromptGenerator]]] = {
    ("layerwise", "per_prompt"): (PromptedEncoder, PromptGenerator),
    ("layerwise", "shared_kv"): (SharedPromptedEncoder, SharedPromptGenerator),
    ("input", "per_prompt"): (InputPromptedEncoder, PromptGenerator),
}


class Components(NamedTuple):
    """Parts that pretraining and finetuning with the PLM have in common.

    Attributes:
        backbone: CTR model, with random weights.
        prompt: Prompt generator, with random weights.
        plm: Encoder, with the weights of the PLM.
        language_model: What the encoder was built from, for its LM head.
    """

    backbone: Backbone
    prompt: PromptGenerator | SharedPromptGenerator
    plm: PromptedEncoder
    language_model: LanguageModel


def build_components(config: Settings, dataset: TextSource) -> Components:
    """Builds backbone and prompt generator with random weights, and the PLM from its files.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields the backbone embeds.

    Raises:
        SettingError: ``prompt_strategy``, ``prompt_projection`` and ``plm_interaction_layers`` exclude each other,
            or the PLM does not support ``plm_lora`` or ``plm_interaction_layers``.
        WeightsError: The PLM cannot be obtained.
    """
    variant = (config["prompt_strategy"], config["prompt_projection"])
    if variant not in _VARIANTS:
        raise SettingError(
            "prompt_projection: shared_kv generates keys and values, but prompt_strategy: input needs states; use "
            "per_prompt"
        )
    encoder_class, generator_class = _VARIANTS[variant]
    backbone = build_backbone(config, dataset)
    if config["prompt_strategy"] == "input" and config["plm_interaction_layers"] is not None:
        raise SettingError(
            "plm_interaction_layers leaves the lower layers without prompts, but prompt_strategy: input adds them "
            "before the first layer; use layerwise"
        )
    plm, language_model = build_encoder(config, encoder_class)
    sizes = {"hidden_size": plm.hidden_size}
    if generator_class is SharedPromptGenerator:
        sizes["key_value_size"] = plm.key_value_size
    prompt = generator_class(
        input_size=_width(backbone, dataset),
        num_layers=plm.prompt_layers,
        num_prompts=config["num_prompts"],
        **sizes,
    )
    return Components(backbone, prompt, plm, language_model)


def build_pretraining(config: Settings, dataset: TextSource) -> PAMLM | ReplacedItem:
    """The model of the pretraining stage, by ``pretrain_objectives``; arguments as for ``build_pamlm``."""
    if "mlm" in config["pretrain_objectives"]:
        return build_pamlm(config, dataset)
    return _detector(build_backbone(config, dataset), dataset)


def _detector(backbone: Backbone, dataset: TextSource) -> ReplacedItem:
    return ReplacedItem(backbone=backbone, input_size=_width(backbone, dataset), fields=item_fields(dataset))


def _width(backbone: Backbone, dataset: TextSource) -> int:
    """Q, from a forward pass on the first rows."""
    return backbone.width(dataset[torch.arange(min(2, len(dataset)))])


def build_pamlm(config: Settings, dataset: TextSource) -> PAMLM:
    """PA-MLM, with replaced-item detection if it is among ``pretrain_objectives``.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Raises:
        SettingError: As for ``build_components``, ``build_lm_head`` and ``build_masked_text``.
        WeightsError: The PLM cannot be obtained.
    """
    parts = build_components(config, dataset)
    lm_head, vocabulary = build_lm_head(config, dataset, parts.language_model)
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

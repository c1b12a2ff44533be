"""A language model as a config describes it: its encoder and its head."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.architectures import ARCHITECTURES
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.heads import DecoderHead, TokenHead, restrict_vocabulary
from recbole_clickprompt.plm.loading import LanguageModel, load_plm
from recbole_clickprompt.plm.lora import add_lora
from recbole_clickprompt.plm.weights import find_plm

__all__ = ["build_encoder", "build_lm_head"]


def build_encoder(
    config: Any, encoder_class: type[PromptedEncoder] = PromptedEncoder
) -> tuple[PromptedEncoder, LanguageModel]:
    """The encoder, with LoRA and frozen lower layers where the config asks for them, and what it was taken from.

    Raises:
        SettingError: The PLM does not go with ``plm_lora`` or ``plm_interaction_layers``.
        WeightsError: The PLM cannot be obtained.
    """
    language_model = load_plm(
        find_plm(config["plm"]), num_layers=config["plm_num_layers"], dropout=config["plm_dropout"]
    )
    if config["plm_lora"]:
        add_lora(language_model.encoder, config["plm_lora"])
    encoder = encoder_class(
        language_model.encoder,
        gradient_checkpointing=config["plm_gradient_checkpointing"],
        num_frozen_layers=_first_joint_layer(config, language_model.encoder),
    )
    return encoder, language_model


def build_lm_head(
    config: Any, dataset: Any, language_model: LanguageModel
) -> tuple[TokenHead | DecoderHead, Tensor | None]:
    """The head that recovers masked tokens, and the tokens that it chooses from, ``(V,)``; None for all.

    Raises:
        SettingError: ``mlm_candidates: data`` with a PLM that recovers text by a decoder.
    """
    lm_head = language_model.lm_head
    if config["mlm_candidates"] != "data":
        return lm_head, None
    if not isinstance(lm_head, TokenHead):
        raise SettingError("mlm_candidates: data is for PLMs with an LM head, not with a decoder; use plm")
    vocabulary = dataset.token_table(config["plm"]).vocabulary()
    return TokenHead(restrict_vocabulary(lm_head.head, vocabulary)), vocabulary


def _first_joint_layer(config: Any, encoder: Any) -> int:
    """0 where all layers see whole rows."""
    count, layers = config["plm_interaction_layers"], encoder.config.num_hidden_layers
    if count is None or count == layers:
        return 0
    if count > layers:
        raise SettingError(f"plm_interaction_layers is {count}, but there are {layers} layers (plm_num_layers)")
    family = encoder.config.model_type
    if not ARCHITECTURES[family].supports_precomputed_layers:
        raise SettingError(
            f"plm_interaction_layers: the lower layers of a {family!r} model cannot be run apart from its upper "
            "ones; leave it at None, or use a BERT, RoBERTa, ELECTRA, DistilBERT, DeBERTa, ModernBERT or GPT-2"
        )
    return layers - count

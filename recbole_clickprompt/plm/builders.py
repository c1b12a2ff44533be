"""Builds the encoder and the LM head that the settings of a run describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.architectures import ARCHITECTURES
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.heads import LMHead, TokenHead, restrict_vocabulary
from recbole_clickprompt.plm.loading import LanguageModel, load_plm
from recbole_clickprompt.plm.lora import add_lora
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["build_encoder", "build_lm_head"]


def build_encoder(
    config: Settings, encoder_class: type[PromptedEncoder] = PromptedEncoder, *, num_layers: int | None = None
) -> tuple[PromptedEncoder, LanguageModel]:
    """The encoder of a run, with LoRA and frozen lower layers if the settings ask for them.

    Args:
        config: Settings of the run: ``plm`` and the settings whose names start with ``plm_``.
        encoder_class: Class of the encoder, which determines how prompts enter it.
        num_layers: Keep the PLM's first layers only, instead of ``plm_num_layers``.

    Returns:
        The encoder, and the language model that it was built from, for its LM head.

    Raises:
        SettingError: The PLM does not support ``plm_lora`` or ``plm_interaction_layers``.
        WeightsError: The PLM cannot be obtained.
    """
    language_model = load_plm(
        find_plm(config["plm"], seed=config["seed"]),
        num_layers=num_layers or config["plm_num_layers"],
        dropout=config["plm_dropout"],
    )
    if config["plm_lora"]:
        add_lora(language_model.encoder, config["plm_lora"])
    encoder = encoder_class(
        language_model.encoder,
        gradient_checkpointing=config["plm_gradient_checkpointing"],
        num_frozen_layers=_num_frozen_layers(config, language_model.encoder),
    )
    return encoder, language_model


def build_lm_head(
    config: Settings, dataset: TextSource, language_model: LanguageModel
) -> tuple[LMHead, Tensor | None]:
    """The head that predicts masked tokens.

    Args:
        config: Settings of the run, ``mlm_candidates`` among them.
        dataset: Data set whose tokens are the candidates of ``mlm_candidates: data``.
        language_model: The PLM.

    Returns:
        The head, and the tokens that it chooses from, ``(V,)`` int64 ascending, or None for the whole vocabulary.

    Raises:
        SettingError: ``mlm_candidates: data`` with an encoder-decoder PLM.
    """
    lm_head = language_model.lm_head
    if config["mlm_candidates"] != "data":
        return lm_head, None
    if not isinstance(lm_head, TokenHead):
        raise SettingError("mlm_candidates: data is for PLMs with an LM head, not with a decoder; use plm")
    vocabulary = dataset.token_table(config["plm"]).vocabulary()
    return TokenHead(restrict_vocabulary(lm_head.head, vocabulary)), vocabulary


def _num_frozen_layers(config: Settings, encoder: PreTrainedModel) -> int:
    """Layers below the interaction layers; 0 if all layers read whole rows.

    Raises:
        SettingError: There are fewer layers than ``plm_interaction_layers``, or the family does not support it.
    """
    count, layers = config["plm_interaction_layers"], encoder.config.num_hidden_layers
    if count is None or count == layers:
        return 0
    if count > layers:
        raise SettingError(f"plm_interaction_layers is {count}, but there are {layers} layers (plm_num_layers)")
    family = encoder.config.model_type
    if not ARCHITECTURES[family].supports_precomputed_layers:
        raise SettingError(
            f"plm_interaction_layers: the lower layers of a {family!r} model cannot be run separately "
            "from the upper ones; leave it at None or use BERT, RoBERTa, ELECTRA, DistilBERT, DeBERTa, "
            "ModernBERT, GPT-2, Llama, Mistral or Qwen"
        )
    return layers - count

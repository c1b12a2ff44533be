"""Loads a PLM's tokenizer and modules from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.architectures import ARCHITECTURES
from recbole_clickprompt.plm.config import read_config
from recbole_clickprompt.plm.dropout import replace_dropout
from recbole_clickprompt.plm.families import model_class, num_positions
from recbole_clickprompt.plm.heads import DecoderHead, LMHead, SentinelHead, TokenHead
from recbole_clickprompt.plm.read_weights import read_weights
from recbole_clickprompt.plm.weight_files import first_line, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "LanguageModel", "can_mask", "load_plm", "load_tokenizer", "longest_text", "read_tokenizer", "set_dropout",
]  # fmt: skip

# Modules of the LM head in transformers' model for masked language modeling (causal families: causal)
_LM_HEADS = {
    "albert": ("predictions",),
    "bert": ("cls",),
    "camembert": ("lm_head",),
    "deberta-v2": ("cls",),
    "distilbert": ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    "electra": ("generator_predictions", "generator_lm_head"),
    "gpt2": ("lm_head",),
    "llama": ("lm_head",),
    "mistral": ("lm_head",),
    "modernbert": ("head", "decoder"),
    "qwen2": ("lm_head",),
    "qwen3": ("lm_head",),
    "roberta": ("lm_head",),
    "xlm-roberta": ("lm_head",),
}
_SENTINEL = "<extra_id_{}>"
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embedding_dropout",
    "activation_dropout", "mlp_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout_rate",
)  # fmt: skip


@dataclass(frozen=True)
class LanguageModel:
    """The parts of a PLM.

    Attributes:
        encoder: transformers' base model: embeddings and layers.
        lm_head: Predicts masked tokens (causal PLMs: next tokens); its last layer is tied to the input embeddings,
            except in models of the Llama family whose files have another one.
        head_is_new: The checkpoint has no LM head, so other weights of the head are random.
    """

    encoder: PreTrainedModel
    lm_head: LMHead
    head_is_new: bool


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a PLM folder.

    A causal PLM without a padding token pads with its end token. T5's mask token is its first sentinel.

    Raises:
        WeightsError: The tokenizer cannot be read, has no mask token although the PLM is pretrained by masking, or
            has more tokens than the PLM.
    """
    config = read_config(folder)
    causal = ARCHITECTURES[config.model_type].causal
    tokenizer = read_tokenizer(folder, vocab_size=config.vocab_size)
    if causal and tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is never attended to, so any token is fine
    if config.model_type == "t5" and tokenizer.mask_token_id is None:
        tokenizer.mask_token = tokenizer.convert_ids_to_tokens(_sentinels(folder, tokenizer)[0])
    if tokenizer.pad_token_id is None or (tokenizer.mask_token_id is None and not causal):
        raise WeightsError(
            f"{folder}: its tokenizer has no mask or padding token, so it cannot serve masked language modeling"
        )
    return tokenizer


def can_mask(folder: Path) -> bool:
    """Whether a PLM of a family in ``ARCHITECTURES`` has tokens to mask with, or needs none; T5 may have none.

    Raises:
        WeightsError: Its config or its tokenizer cannot be read.
    """
    if read_json(folder / "config.json").get("model_type") != "t5":
        return True
    tokenizer = read_tokenizer(folder, vocab_size=read_config(folder).vocab_size)
    return tokenizer.mask_token_id is not None or _SENTINEL.format(0) in tokenizer.get_vocab()


def read_tokenizer(folder: Path, *, vocab_size: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder; nothing outside the folder is read.

    Args:
        folder: The folder.
        vocab_size: Number of tokens that the model has embeddings of.

    Raises:
        WeightsError: The tokenizer cannot be read, or has more tokens than the model.
    """
    from transformers import AutoTokenizer

    settings = folder / "tokenizer_config.json"
    for key, value in read_json(settings).items() if settings.exists() else ():
        if key in ("vocab", "merges") and isinstance(value, str):  # a path that would be read
            raise WeightsError(f"{settings}: {key} is {value!r}; a tokenizer's files are those in its folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers passes on any error of its parsers
        raise WeightsError(f"{folder}: its tokenizer cannot be read: {first_line(error)}") from error
    if not isinstance(tokenizer.model_max_length, int | float) or not tokenizer.model_max_length > 0:
        raise WeightsError(
            f"{folder}: its tokenizer's model_max_length is {tokenizer.model_max_length!r:.60}; expected is a "
            "number above 0"
        )
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= vocab_size:
        raise WeightsError(
            f"{folder}: its tokenizer has token ids up to {largest}, but config.json's vocab_size is "
            f"{vocab_size}; save the tokenizer that belongs to the model"
        )
    return tokenizer


def _sentinels(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens with which T5 masks, in their order; raises WeightsError if there are none."""
    vocabulary = tokenizer.get_vocab()
    names = takewhile(vocabulary.__contains__, map(_SENTINEL.format, count()))
    sentinels = [vocabulary[name] for name in names]
    if not sentinels:
        raise WeightsError(
            f"{folder}: its tokenizer has no sentinels (<extra_id_0>, ...), which a 't5' model needs; "
            "save the tokenizer that belongs to the model"
        )
    return sentinels


def longest_text(folder: Path) -> int:
    """Maximum number of tokens of a text, special ones included, that a PLM has positions for.

    Raises:
        WeightsError: As for ``read_config``.
    """
    return num_positions(read_config(folder))


def set_dropout(config: PreTrainedConfig, rate: float | None) -> None:
    """Replaces every dropout rate in a PLM's config, attention included; None keeps them."""
    for name in _DROPOUTS if rate is not None else ():
        if hasattr(config, name):
            setattr(config, name, rate)


def load_plm(folder: Path, *, num_layers: int | None, dropout: float | None) -> LanguageModel:
    """Loads a PLM with its pretrained LM head, or with a new one tied to the input embeddings if it has none.

    Args:
        folder: Folder of the PLM (``find_plm``).
        num_layers: Number of layers to keep, from the first; None keeps all.
        dropout: Rate that replaces every dropout rate of the PLM, attention included; None keeps the PLM's rates.

    Returns:
        The encoder and the head, in float32 on the CPU.

    Raises:
        WeightsError: The family is not supported, the PLM has fewer layers, or a weight is missing.
    """
    config = read_config(folder)
    if num_layers is not None:
        if num_layers > config.num_hidden_layers:
            raise WeightsError(
                f"plm_num_layers is {num_layers}, but {folder} has {config.num_hidden_layers} layers"
            )
        config.num_hidden_layers = num_layers
        if getattr(config, "layer_types", None):  # ModernBERT's and Qwen's, one per layer
            config.layer_types = config.layer_types[:num_layers]
    set_dropout(config, dropout)
    config.tie_word_embeddings = True
    model, missing_keys = read_weights(folder, config, model_class(config.model_type))
    head_names = _LM_HEADS.get(config.model_type, ("final_logits_bias",))  # BART's, which is 0 if it is not stored
    missing = [key for key in missing_keys if not key.startswith(head_names)]
    if missing:
        raise WeightsError(f"{folder}: the weights {', '.join(sorted(missing)[:3])} are missing from its files")
    replace_dropout(model)
    if config.model_type == "bart":
        return LanguageModel(model.model.encoder, DecoderHead(model), head_is_new=False)
    if config.model_type == "t5":
        tokenizer = read_tokenizer(folder, vocab_size=config.vocab_size)
        return LanguageModel(model.encoder, SentinelHead(model, _sentinels(folder, tokenizer)), head_is_new=False)
    modules = [getattr(model, name) for name in head_names]
    head = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
    return LanguageModel(model.base_model, TokenHead(head), head_is_new=bool(missing_keys))

"""Loads language models that write text: causal ones (Llama, Qwen, GPT-2) and encoder-decoders (T5, BART).

Only models whose layers are given prompts need an adapter in ``architectures/``; here, any model of transformers
that generates text is used unchanged, or with some of its layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.config import check_shapes, check_values
from recbole_clickprompt.plm.loading import read_tokenizer, set_dropout
from recbole_clickprompt.plm.read_weights import read_weights
from recbole_clickprompt.plm.weight_files import read_json
from recbole_clickprompt.plm.weights import find_plm

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "GenerativeModel", "generative_config", "generative_tokenizer", "keep_layers", "load_generative",
    "num_positions",
]  # fmt: skip

# Config keys that count the layers of a stack; T5's and BART's decoders have one of their own
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers",
                 "num_decoder_layers")  # fmt: skip


class GenerativeModel(NamedTuple):
    """A language model that generates text, and its tokenizer.

    Attributes:
        model: transformers' model with its LM head, in float32 on the CPU.
        tokenizer: Its tokenizer, which has a padding token and an end token.
        encoder_decoder: Whether an encoder reads the input and a decoder writes the answer; otherwise the model is
            causal and continues the input.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder_decoder: bool


def load_generative(name: str, *, num_layers: int | None = None, dropout: float | None = None) -> GenerativeModel:
    """Loads a causal or encoder-decoder language model.

    Args:
        name: ``smollm2``, a folder, or a Hugging Face id; see ``find_plm``.
        num_layers: Number of layers of each stack to keep, the first ones; None keeps all.
        dropout: Rate that replaces every dropout rate of the model; None keeps the model's rates.

    Raises:
        WeightsError: It cannot be found or read, does not generate text, or has fewer layers.
    """
    folder = find_plm(name)
    config = generative_config(folder)
    set_dropout(config, dropout)
    model, missing = read_weights(folder, config, _auto_class(config))
    if missing:
        names = ", ".join(sorted(missing)[:3])
        raise WeightsError(f"{folder}: the weights {names} are missing from its files")
    tokenizer = generative_tokenizer(folder, config)
    if num_layers is not None:
        keep_layers(model, num_layers, origin=str(folder))
    return GenerativeModel(model, tokenizer, bool(config.is_encoder_decoder))


def generative_tokenizer(folder: Path, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that generates text, which has an end token; it also pads, if no other one does.

    Args:
        folder: Folder of the model.
        config: The result of ``generative_config``.

    Raises:
        WeightsError: The tokenizer cannot be read, has no end token, or has more tokens than the model.
    """
    tokenizer = read_tokenizer(folder, vocab_size=config.vocab_size)
    if tokenizer.eos_token_id is None:
        raise WeightsError(f"{folder}: its tokenizer has no end token (eos_token), so answers could not end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked by position, so any token is fine
    return tokenizer


def num_positions(model: PreTrainedModel) -> int | None:
    """Most tokens that a model has positions for; None if they are not limited, as in T5."""
    return getattr(model.config, "max_position_embeddings", None)


def generative_config(folder: Path) -> PreTrainedConfig:
    """Reads and checks the ``config.json`` of a model that generates text.

    Args:
        folder: Folder of the model, local and checked by ``check_files``.

    Raises:
        WeightsError: It does not generate text, or a value is invalid or does not fit the weights.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    path = folder / "config.json"
    values = read_json(path)
    family = values.get("model_type")
    if not isinstance(family, str) or family not in CONFIG_MAPPING:
        raise WeightsError(f"{path}: model_type is {family!r:.60}, which transformers does not know")
    check_values(path, values, CONFIG_MAPPING[family]())
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        auto_class = _auto_class(config)
    except KeyError as error:
        raise WeightsError(
            f"{folder} is a {family!r} model, which does not generate text; use a causal model such as Llama, Qwen"
            " or GPT-2, or an encoder-decoder such as T5"
        ) from error
    except Exception as error:
        raise WeightsError(f"{folder}: its config.json cannot be read: {' '.join(str(error).split())}") from error
    check_shapes(path, values, config, auto_class=auto_class)
    return config


def _auto_class(config: PreTrainedConfig) -> Any:
    """The auto class that loads a model with its LM head; raises KeyError if the family generates no text."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
    )

    if config.is_encoder_decoder:
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING[type(config)]
        return AutoModelForSeq2SeqLM
    # BERT and its relatives have a causal class too, but their checkpoints read in both directions
    if config.model_type not in _masked_families():
        MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        return AutoModelForCausalLM
    raise KeyError(config.model_type)


def _masked_families() -> set[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return set(MODEL_FOR_MASKED_LM_MAPPING_NAMES)


def keep_layers(model: PreTrainedModel, num_layers: int, *, origin: str) -> None:
    """Removes all but the first ``num_layers`` layers of each stack of a model, in place.

    The first layers read what they were trained on, so their states are still good descriptions of a text. Evenly
    spaced ones read the states of layers that they never followed.

    Args:
        model: A causal model or an encoder-decoder.
        num_layers: Layers to keep per stack.
        origin: Where the model is from, for messages.

    Raises:
        WeightsError: A stack has fewer layers, or its layers depend on their number.
    """
    stacks = [model.get_encoder(), model.get_decoder()] if model.config.is_encoder_decoder else [_causal(model)]
    if getattr(model.config, "scale_attn_by_inverse_layer_idx", False):
        raise WeightsError(
            f"student_num_layers is {num_layers}, but layers of {origin} depend on their number; use all"
        )
    for stack in stacks:
        lists = [(name, child) for name, child in stack.named_children() if isinstance(child, nn.ModuleList)]
        if len(lists) != 1:
            raise WeightsError(
                f"student_num_layers is {num_layers}, but {origin} has no single list of layers; use all"
            )
        name, layers = lists[0]
        if not 1 <= num_layers <= len(layers):
            raise WeightsError(
                f"student_num_layers is {num_layers}, but {origin} has {len(layers)} layers; lower it, "
                "or set it to ~ for all"
            )
        for config in (model.config, stack.config):
            _shorten(config, len(layers), num_layers)
        setattr(stack, name, layers[:num_layers])


def _causal(model: PreTrainedModel) -> nn.Module:
    """The module of a causal model that has its layers as a child."""
    base = model.base_model
    return getattr(base, "decoder", base)  # OPT's has its decoder one level below


def _shorten(config: PreTrainedConfig, layers: int, kept: int) -> None:
    """Adapts counts of layers, and lists with one entry per layer, in a model's config."""
    for key, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == layers and key.endswith("_types"):
            setattr(config, key, value[:kept])
        elif key in _LAYER_COUNTS and value == layers:
            setattr(config, key, kept)

"""A PLM's ``config.json``, checked against the shapes of the stored weights before a model is built."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.architectures import ARCHITECTURES
from recbole_clickprompt.plm.families import (
    COUNTED_FROM_PADDING,
    ENCODER_DECODERS,
    check_family,
    model_class,
    num_positions,
)
from recbole_clickprompt.plm.weight_files import first_line, read_json, stored_shapes

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["check_shapes", "check_values", "read_config"]

_REFUSED_KEYS = {
    "configuration_files": "which would be read instead of this one",
    "transformers_weights": "which would be read instead of model.safetensors",
    "quantization_config": "but only weights that are not quantized are supported",
}
# transformers creates a list of this many entries for each of these keys, in some families while it reads the file
_COUNTS = (
    "num_hidden_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers", "num_hidden_groups",
    "inner_group_num", "num_labels", "num_layers", "num_decoder_layers",
)  # fmt: skip
_MAX_COUNT = 100_000
_NULLABLE = ("num_key_value_heads", "sliding_window")  # where published files have null in place of a number
# Layers that share their weights: the weight files do not limit their number. ALBERT has 12
_MAX_SHARED_LAYERS = 256


def read_config(folder: Path) -> PreTrainedConfig:
    """Reads and checks the ``config.json`` of a PLM folder.

    Invalid values would make transformers fail with an unclear error, allocate far too much memory, or build a
    wrong model silently. In this order: types and ranges of values against the defaults of the family;
    support of the family; sizes against each other; shapes against those in the headers of the weight files.

    Args:
        folder: Folder of a PLM, local and checked by ``check_files``.

    Returns:
        transformers' config.

    Raises:
        WeightsError: The family is not supported, or a value is invalid or does not fit the weights.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    path = folder / "config.json"
    values = read_json(path)
    family = values.get("model_type")
    check_values(
        path, values, CONFIG_MAPPING[family]() if isinstance(family, str) and family in ARCHITECTURES else None
    )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise WeightsError(f"{folder}: its config.json cannot be read: {' '.join(str(error).split())}") from error
    check_family(folder, config)
    if family is None:  # transformers inferred it from the folder's name
        check_values(path, values, type(config)())
    _check_sizes(path, config)
    check_shapes(
        path,
        values,
        config,
        auto_class=model_class(config.model_type),
        shares_layers=ARCHITECTURES[config.model_type].shares_layers,
    )
    return config


def check_values(path: Path, values: Mapping[str, object], defaults: PreTrainedConfig | None) -> None:
    """Checks each value by itself.

    Args:
        path: The file, for messages.
        values: Its content.
        defaults: transformers' default config of the family; None if the family is unknown.

    Raises:
        WeightsError: A key is not supported, or a value has the wrong type or is out of range.
    """
    for key, value in values.items():
        if key in _REFUSED_KEYS and value is not None:
            raise WeightsError(
                f"{path} contains {key}, {_REFUSED_KEYS[key]}; remove it if the model is complete without it"
            )
        if key == "attn_implementation" and "/" in str(value):
            raise WeightsError(
                f"{path}: attn_implementation is {value!r}, which would be downloaded code; remove it"
            )
        expected = _expected(key, value, getattr(defaults, key, None))
        if expected:
            raise WeightsError(f"{path}: {key} is {value!r}; expected is {expected}")


def _expected(key: str, value: object, default: object) -> str | None:
    """The expected value of a key in words, inferred from its family's default; None if ``value`` is valid."""
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf:
        number = value
    if "drop" in key and isinstance(default, int | float):
        return None if number is not None and 0 <= number <= 1 else "a number from 0 to 1"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, float):
        return None if number is not None else "a number"
    if key in _COUNTS and number is not None and number > _MAX_COUNT:
        return f"at most {_MAX_COUNT}"
    if not isinstance(default, int) or (value is None and (key.endswith("_id") or key in _NULLABLE)):
        return None
    least = 0 if key.endswith("_id") else min(default, 1)
    return None if type(value) is int and value >= least else f"a whole number from {least} on"


def _check_sizes(path: Path, config: PreTrainedConfig) -> None:
    """Raises WeightsError if sizes, counts of heads or token ids contradict each other."""
    names = config.attribute_map
    for heads in ("num_attention_heads", "decoder_attention_heads"):
        number = getattr(config, heads, 1)
        if number < 1 or (config.hidden_size % number and not getattr(config, "head_dim", None)):
            raise WeightsError(
                f"{path}: {names.get('hidden_size', 'hidden_size')} is {config.hidden_size}, which "
                f"{names.get(heads, heads)}, {number}, does not divide"
            )
    groups = getattr(config, "num_key_value_heads", 1)
    if config.num_attention_heads % groups:
        raise WeightsError(
            f"{path}: num_attention_heads is {config.num_attention_heads}, which num_key_value_heads, {groups}, "
            "does not divide"
        )
    needs = {"pad_token_id": COUNTED_FROM_PADDING, "decoder_start_token_id": ENCODER_DECODERS}
    for key, families in needs.items():
        token = getattr(config, key, None)
        if token is None and config.model_type in families:
            raise WeightsError(f"{path}: {key} is missing, which a {config.model_type} model needs")
        if token is not None and not 0 <= token < config.vocab_size:
            raise WeightsError(f"{path}: {key} is {token}, but there are {config.vocab_size} tokens (vocab_size)")
    if num_positions(config) < 1:
        raise WeightsError(
            f"{path}: max_position_embeddings is {config.max_position_embeddings}, too few for a text"
        )


def check_shapes(
    path: Path,
    values: Mapping[str, object],
    config: PreTrainedConfig,
    *,
    auto_class: type[PreTrainedModel],
    shares_layers: bool = False,
) -> None:
    """Compares the shapes of the model that a config describes with the stored ones; nothing is allocated.

    Args:
        path: The ``config.json``.
        values: Its content.
        config: transformers' config.
        auto_class: The auto class of transformers that builds the model.
        shares_layers: Whether all layers of the family are the same one, so that the files do not limit them.

    Raises:
        WeightsError: A shape differs, or the model is far larger than the stored weights.
    """
    stored = stored_shapes(path.parent)
    _check_layers(path, config, stored, shares_layers=shares_layers)
    model = _without_weights(path, config, auto_class)
    described = {_plain(name, model): tuple(parameter.shape) for name, parameter in model.named_parameters()}
    stored = {_plain(name, model): shape for name, shape in stored.items()}
    for name, shape in described.items():
        found = stored.get(name, shape)
        if shape != found:
            wrong = set(shape) - set(found)
            keys = [f"{key} is {value}" for key, value in values.items() if type(value) is int and value in wrong]
            cause = " and ".join(keys) or "it does not fit the weights"
            raise WeightsError(
                f"{path}: {cause}, so {name} would have shape {shape}, but it is stored with {found}"
            )
    size, stored_size = (sum(map(math.prod, shapes.values())) for shapes in (described, stored))
    if size > 2 * stored_size:  # only the LM head may be missing
        raise WeightsError(
            f"{path} describes a model of {size} parameters, but its weight files contain {stored_size}"
        )


def _check_layers(path: Path, config: PreTrainedConfig, stored: Iterable[str], *, shares_layers: bool) -> None:
    """Raises WeightsError if a config has more layers than the stored weights, before any model is built."""
    most, reason = _MAX_SHARED_LAYERS, ""
    if not shares_layers:
        numbers = (int(number) for name in stored for number in re.findall(r"\.(\d{1,6})\.", name))
        most, reason = max(numbers, default=-1) + 1, ", as many as its weight files contain"
    for layers in ("num_hidden_layers", "decoder_layers", "num_decoder_layers", "num_hidden_groups"):
        number = getattr(config, layers, 1)
        if not 1 <= number <= most:
            key = config.attribute_map.get(layers, layers)
            raise WeightsError(f"{path}: {key} is {number}; expected is 1 to {most}{reason}")


def _without_weights(path: Path, config: PreTrainedConfig, auto_class: type[PreTrainedModel]) -> PreTrainedModel:
    """The model of a config on the meta device, with shapes but without memory for the weights."""
    config = copy.deepcopy(config)
    config.tie_word_embeddings = True
    try:
        with torch.device("meta"):  # allocates nothing
            return auto_class.from_config(config, trust_remote_code=False)
    except Exception as error:
        raise WeightsError(f"{path} does not describe a model that can be built: {first_line(error)}") from error


def _plain(name: str, model: PreTrainedModel) -> str:
    """A weight's name in the base model: without the prefix of a model with a head, old names replaced."""
    name = name.removeprefix(f"{model.base_model_prefix}.")
    return re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name))

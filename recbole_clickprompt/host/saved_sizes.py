"""Rejects a checkpoint whose settings describe a model far larger than its weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import torch

from recbole_clickprompt.host.saved_config import setting_error
from recbole_clickprompt.settings.values import Settings

__all__ = ["check_sizes"]

# Settings that are sizes of layers
_WIDTHS = (
    "embedding_size", "mlp_hidden_size", "attention_size", "cin_layer_size", "low_rank", "num_prompts", "n_layers",
    "num_heads", "cross_layer_num", "expert_num", "order_list", "t_depth", "depth", "conv_channels",
    "recombined_channels", "mlp1_hidden_size", "mlp2_hidden_size", "gate_hidden_size", "num_blocks", "block_size",
    "num_fm", "num_linear", "fm_hidden_size", "reduction_ratio", "adaptor_size",
    "meta_tokens", "char_channels", "number_buckets",
)  # fmt: skip
# Sizes up to these are accepted without evidence in the weights. The spare weights are for settings that the model
# does not read.
_MOST_WIDTH, _MOST_LAYERS, _SPARE_WEIGHTS = 1024, 64, 50_000_000


def check_sizes(config: Settings, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Rejects a model that is far larger than its weights, before it is built and exhausts the memory.

    Args:
        config: Settings of the checkpoint.
        weights: Its ``state_dict``.
        path: The checkpoint, for the error message.

    Raises:
        WeightsError: A setting is far larger than any layer in the weights.
    """
    widest = max([_MOST_WIDTH, *(min(weight.shape, default=1) for weight in weights.values())])
    saved = sum(weight.numel() for weight in weights.values())
    for key in _WIDTHS:
        value = config[key]
        widths = value if isinstance(value, list | tuple) else [value]
        numbers = [width for width in widths if isinstance(width, int | float)]
        # Number of weights in a stack of dense layers with these widths
        connected = sum(math.prod(pair) for pair in itertools.pairwise(numbers))
        if (
            len(widths) > max(_MOST_LAYERS, len(weights))
            or any(number > widest for number in numbers)
            or connected > 2 * saved + _SPARE_WEIGHTS
        ):
            raise setting_error(
                path, key, value, f"a size that fits the saved weights, which are at most {widest} wide"
            )

"""The families of transformers models that prompts can enter: which there are, and what is particular to some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["COUNTED_FROM_PADDING", "ENCODER_DECODERS", "UNLIMITED", "check_family", "model_class", "num_positions"]

# Not supported, with the reason and what to use instead
_REFUSED = {
    "deberta": "its first version projects queries, keys and values in one layer; use DeBERTa-v2 or -v3",
}
ENCODER_DECODERS = ("bart", "t5")
# Keys of one text would be rotated by other angles than its queries, of which fewer are computed
_LENGTH_DEPENDENT_ROTATIONS = ("dynamic", "longrope")
UNLIMITED = 1 << 20  # tokens
# RoBERTa and its relatives count positions from the padding id + 1
COUNTED_FROM_PADDING = ("camembert", "roberta", "xlm-roberta")


def model_class(family: str) -> type[PreTrainedModel]:
    """The auto class of transformers that loads a family's model with its LM head."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    if family in ENCODER_DECODERS:
        return AutoModelForSeq2SeqLM
    return AutoModelForCausalLM if ARCHITECTURES[family].causal else AutoModelForMaskedLM


def num_positions(config: PreTrainedConfig) -> int:
    """Maximum number of tokens of a text that the PLM has positions for; T5's are relative and do not limit it."""
    if config.model_type == "t5":
        return UNLIMITED
    unused = config.pad_token_id + 1 if config.model_type in COUNTED_FROM_PADDING else 0
    return config.max_position_embeddings - unused


def check_family(folder: Path, config: PreTrainedConfig) -> None:
    """Checks that prompts can enter models of a family or variant.

    Args:
        folder: Folder of the PLM, for messages.
        config: transformers' config.

    Raises:
        WeightsError: They cannot.
    """
    family = config.model_type
    if family in _REFUSED:
        raise WeightsError(f"{folder} is a {family!r} model, which prompts cannot enter: {_REFUSED[family]}")
    if family not in ARCHITECTURES or getattr(config, "is_decoder", False):
        raise WeightsError(
            f"{folder} is a {family!r} model; supported are {', '.join(sorted(ARCHITECTURES))} "
            "(MiniLM and TinyBERT are of bert)"
        )
    if family == "albert" and config.inner_group_num != 1:
        raise WeightsError(f"{folder} has {config.inner_group_num} layers per group; only 1 is supported")
    scaling = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    if scaling in _LENGTH_DEPENDENT_ROTATIONS:
        raise WeightsError(
            f"{folder} is a {family!r} model with rotary positions of the type {scaling!r}, which depend on the "
            "length of the text; supported are default, linear, llama3 and yarn"
        )
    if family == "deberta-v2":
        if getattr(config, "conv_kernel_size", 0):
            raise WeightsError(f"{folder} has a convolution next to its first layer; use a DeBERTa-v3")
        config.legacy = True  # selects the LM head that does not need the embeddings

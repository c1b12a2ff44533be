"""Tokenizer and longest text of any language model that reads the text of rows.

These are the families in ``ARCHITECTURES``, and encoder-decoders that are used unchanged: those that prompts
cannot enter, and T5 without the tokens with which it masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.plm.architectures import ARCHITECTURES
from recbole_clickprompt.plm.families import UNLIMITED
from recbole_clickprompt.plm.generative import generative_config, generative_tokenizer
from recbole_clickprompt.plm.loading import can_mask, load_tokenizer, longest_text
from recbole_clickprompt.plm.weight_files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["longest_row", "row_tokenizer"]

_LONGEST = 512  # tokens, if positions are relative: the length that T5 was pretrained with


def row_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a PLM folder, which has a padding token.

    Raises:
        WeightsError: As for ``load_tokenizer``, or for an encoder-decoder as for ``generative_tokenizer``.
    """
    if _is_read_unchanged(folder):
        return generative_tokenizer(folder, generative_config(folder))
    return load_tokenizer(folder)


def longest_row(folder: Path) -> int:
    """Maximum number of tokens of a text, special ones included.

    Raises:
        WeightsError: As for ``row_tokenizer``.
    """
    if _is_read_unchanged(folder):
        return getattr(generative_config(folder), "max_position_embeddings", None) or _LONGEST
    positions = longest_text(folder)
    return positions if positions < UNLIMITED else _LONGEST


def _is_read_unchanged(folder: Path) -> bool:
    """Whether a model is an encoder-decoder that is not pretrained here."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    family = read_json(folder / "config.json").get("model_type")
    if family in ARCHITECTURES:
        return not can_mask(folder)
    return family in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

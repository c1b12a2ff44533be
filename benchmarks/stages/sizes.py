"""PLMs of a given size with random weights, which are sufficient to measure speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_clickprompt.plm.loading import load_tokenizer
from recbole_clickprompt.plm.weights import find_plm

__all__ = ["SIZES", "save_random_plm"]

# RoBERTa's
SIZES: dict[str, dict[str, Any]] = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
_VOCABULARY = 50265


def save_random_plm(shape: dict[str, Any], tokenizer_of: str, folder: Path) -> Path:
    """Saves a RoBERTa with its vocabulary of 50,265 tokens, and another PLM's tokenizer; returns the folder.

    Args:
        shape: A value of ``SIZES``.
        tokenizer_of: ``minilm``, a folder or a Hugging Face id; its tokens are the first of the vocabulary.
        folder: A new or empty folder.
    """
    from transformers import RobertaConfig, RobertaForMaskedLM

    tokenizer = load_tokenizer(find_plm(tokenizer_of))
    config = RobertaConfig(
        **shape,
        vocab_size=max(_VOCABULARY, len(tokenizer)),
        max_position_embeddings=514 + tokenizer.pad_token_id,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

"""Small random students that read words, and settings of small runs with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.conftest import SMALL, TEXT

SETTINGS: dict[str, Any] = {
    **SMALL, "student_num_layers": None, "lora_layers": 1, "train_batch_size": 256, "micro_batch_size": 256,
    "history_length": 4, "near_items": 2, "user_blocks": 2, "profile_length": 3, "adaptor_size": 16,
    "knowledge": None,
}  # fmt: skip


def save_student(
    folder: Path, words: list[str] = TEXT, *, layers: int = 3, width: int = 32, seed: int = 5
) -> Path:
    """A random Llama whose tokens are the words of some texts; unknown words are one token."""
    split = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    texts = [*words, "Item: Profile: Reasoning: Liked: is . ; ( )"]
    found = dict.fromkeys(word for text in texts for word, _ in split.pre_tokenize_str(text))
    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["<end>", "<unknown>", *found])}, unk_token="<unknown>")
    )
    tokenizer.pre_tokenizer = split
    tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = tf.LlamaConfig(
        vocab_size=len(found) + 2, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True,
        initializer_range=0.3, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    tf.LlamaForCausalLM(config).save_pretrained(folder)
    return folder

"""A small T5 with random weights, and a tokenizer of the kind that T5 has."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as tf
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.conftest import TEXT


def sentence_pieces() -> tf.PreTrainedTokenizerFast:
    """Unigram pieces: each word of the texts and each character; "▁" before the first piece of a word."""
    special = ["<pad>", "</s>", "<unk>"]
    words = {f"▁{word}" for text in [*TEXT, "Will the user like item yes no"] for word in text.split()}
    characters = {character for word in words for character in word}
    pieces = [*special, *sorted(characters | words)]
    scores = [(piece, 0.0 if piece in special else -10.0 / len(piece)) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2))
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names)


def save_random_t5(folder: Path, *, dropout: float = 0.1, width: int = 16) -> Path:
    """Saves model and tokenizer; returns the folder."""
    torch.manual_seed(0)
    tokenizer = sentence_pieces()
    config = tf.T5Config(
        vocab_size=len(tokenizer) + 3, d_model=width, d_ff=32, d_kv=8, num_heads=2, num_layers=2,
        dropout_rate=dropout, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    tf.T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

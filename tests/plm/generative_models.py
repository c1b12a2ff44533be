"""Small random language models that generate text, one of each family, with a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

FAMILIES = ("llama", "qwen2", "gpt2", "t5", "bart")
_SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}


def byte_tokenizer(*, pad_token: str | None = None, text: str = "") -> tf.PreTrainedTokenizerFast:
    """One token per byte, and per word of a text; no special tokens, and the end token pads by default."""
    special = ["<end>", "<pad>"]
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [word for word, _ in split.pre_tokenize_str(text)]
    merges = dict.fromkeys((word[:i], word[i]) for word in words for i in range(1, len(word)))
    pieces = dict.fromkeys([*special, *sorted(split.alphabet()), *(left + right for left, right in merges)])
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, list(merges)))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokens = {"eos_token": "<end>"} | ({"pad_token": pad_token} if pad_token else {})
    return tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


def config_of(family: str, *, layers: int = 6, vocab_size: int = 264) -> Any:
    """The config of a small model without dropout whose weights are large enough for layers to matter."""
    ids = {"eos_token_id": 0, "pad_token_id": 0, "vocab_size": vocab_size}
    small = {**ids, "initializer_range": 0.2}
    if family in ("llama", "qwen2"):
        kind = tf.LlamaConfig if family == "llama" else tf.Qwen2Config
        return kind(**small, **_SHAPE, num_hidden_layers=layers, max_position_embeddings=512, bos_token_id=0,
                    tie_word_embeddings=True)  # fmt: skip
    if family == "gpt2":
        dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return tf.GPT2Config(
            **small, **dropout, n_embd=32, n_head=4, n_layer=layers, n_positions=512, bos_token_id=0
        )
    if family == "t5":
        return tf.T5Config(**ids, d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=layers, dropout_rate=0.0,
                           decoder_start_token_id=1)  # fmt: skip
    assert family == "bart"
    size = {"encoder_layers": layers, "decoder_layers": layers, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    size |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "d_model": 32, "init_std": 0.2}
    return tf.BartConfig(**ids, **size, dropout=0.0, max_position_embeddings=512, decoder_start_token_id=1,
                         forced_eos_token_id=None, bos_token_id=0)  # fmt: skip


def save_model(
    folder: Path, family: str, *, layers: int = 6, pad_token: str | None = None, seed: int = 3, text: str = ""
) -> Path:
    """Saves a model and its tokenizer, whose tokens are the words of a text too; returns the folder."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer(pad_token=pad_token, text=text)
    config = config_of(family, layers=layers, vocab_size=len(tokenizer) + 6)
    kind = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    model = kind.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "relative_attention_bias" in name:
                parameter.normal_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

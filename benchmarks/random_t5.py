"""Makes a small T5 with random weights for ml-100k, where pretrained weights cannot be had.

    python -m benchmarks.random_t5
    recbole-cp grid evidence/methods-few-rows.yaml

Writes the folder ``random-t5``: an encoder and a decoder of two layers, and a tokenizer of the kind that T5 has,
whose pieces are the words of films and users of ml-100k. A model trained from it says nothing about T5 or P5 as
published.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import recbole
import torch
import transformers as tf
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

__all__ = ["main", "save_random_t5", "sentence_pieces"]

# Words of P5's question and answers, and of the sentences that tell a row
_WORDS = "Will the user like the item? yes no is . gender age job title release year film genre male female"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.random_t5``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.random_t5",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=Path("random-t5"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    save_random_t5(options.folder, sentence_pieces([*_texts(), _WORDS]), width=128, hidden=512, heads=4)
    print(f"{options.folder}: a T5 with random weights and its tokenizer")
    return 0


def _texts() -> list[str]:
    """The values of films and users of ml-100k, one text per column."""
    folder = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
    parts = [pd.read_csv(folder / f"ml-100k.{part}", sep="\t", dtype=str, keep_default_na=False, quoting=3)
             for part in ("user", "item")]  # fmt: skip
    return [" ".join(part[column]) for part in parts for column in part.columns]


def sentence_pieces(texts: Sequence[str]) -> tf.PreTrainedTokenizerFast:
    """Unigram pieces: each word and each character of the texts; "▁" before the first piece of a word."""
    special = ["<pad>", "</s>", "<unk>"]
    words = {f"▁{word}" for text in texts for word in text.split()}
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


def save_random_t5(
    folder: Path,
    tokenizer: tf.PreTrainedTokenizerFast,
    *,
    width: int,
    hidden: int,
    heads: int,
    dropout: float = 0.1,
) -> Path:
    """Saves a T5 of two layers per stack, with weights drawn from a fixed seed, and its tokenizer.

    Args:
        folder: Where; it is made.
        tokenizer: As ``sentence_pieces`` makes it.
        width: Width of the states, a multiple of ``heads``.
        hidden: Width of the hidden layer of each MLP.
        heads: Attention heads.
        dropout: T5's own.

    Returns:
        The folder.
    """
    torch.manual_seed(0)
    config = tf.T5Config(
        vocab_size=len(tokenizer) + 3, d_model=width, d_ff=hidden, d_kv=width // heads, num_heads=heads,
        num_layers=2, dropout_rate=dropout, decoder_start_token_id=0, pad_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
    tf.T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    raise SystemExit(main())

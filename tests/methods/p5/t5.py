"""The random T5 of ``benchmarks.random_t5``, small and with the words of the tests."""

from __future__ import annotations

from pathlib import Path

import transformers as tf

from benchmarks import random_t5
from tests.conftest import TEXT


def sentence_pieces() -> tf.PreTrainedTokenizerFast:
    return random_t5.sentence_pieces([*TEXT, "Will the user like item yes no"])


def save_random_t5(folder: Path, *, dropout: float = 0.1, width: int = 16) -> Path:
    return random_t5.save_random_t5(folder, sentence_pieces(), width=width, hidden=32, heads=2, dropout=dropout)

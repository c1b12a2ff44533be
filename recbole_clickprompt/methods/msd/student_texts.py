"""Tokens of texts for the student, equal texts once.

Letters: N texts, Z tokens of the longest of them.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recbole_clickprompt.methods.msd.texts import student_tokens
from recbole_clickprompt.methods.text_vectors.kept_texts import hash_texts
from recbole_clickprompt.text.ragged import Ragged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["StudentTexts", "StudentTokenizer", "padded"]


class StudentTokenizer:
    """Tokenizes texts as in distillation.

    Args:
        tokenizer: Of the student.
        max_length: Most tokens of a text; the end of a longer description is cut, not that of the prompt.
        encoder_decoder: Whether the student is one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int, encoder_decoder: bool) -> None:
        self.max_length = max_length
        self._tokenizer, self._encoder_decoder = tokenizer, encoder_decoder

    def __call__(self, level: str, texts: Sequence[str]) -> Ragged:
        """Tokens of N descriptions of a level, ``item`` or ``user``."""
        tokens = student_tokens(
            self._tokenizer, level, texts, max_length=self.max_length, encoder_decoder=self._encoder_decoder
        )
        return Ragged.of(tokens)


class StudentTexts:
    """The tokens of the distinct texts of a level, and which of them each id has.

    Args:
        tokenize: Of the student.
        level: ``item`` or ``user``.
        texts: By id.

    Attributes:
        tokens: Of U distinct texts.
        index: The text of each id, ``(ids,)`` int64.
    """

    def __init__(self, tokenize: StudentTokenizer, level: str, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        index = [numbers.setdefault(text, len(numbers)) for text in texts]
        self.tokens = tokenize(level, list(numbers))
        self.index = torch.tensor(index, dtype=torch.int64)

    def __len__(self) -> int:
        """U."""
        return len(self.tokens.lengths)

    def padded(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            texts: Numbers of texts, ``(N,)``.

        Returns:
            Tokens, ``(N, Z)`` int64, 0 at padding; and lengths, ``(N,)``; on the CPU.
        """
        return padded(self.tokens, texts.cpu().numpy())

    def hashes(self, read_with: str = "") -> Tensor:
        """A hash of each text's tokens and of how they are read, ``(U, HASH_SIZE)`` uint8."""
        bounds, start = itertools.pairwise(self.tokens.offsets), read_with.encode()
        return hash_texts(start + self.tokens.values[begin:end].tobytes() for begin, end in bounds)

    def digest(self) -> str:
        """A hash of all tokens and of which id has which."""
        digest = hashlib.sha256(self.tokens.values.tobytes())
        digest.update(self.tokens.offsets.tobytes())
        digest.update(self.index.numpy().tobytes())
        return digest.hexdigest()


def padded(tokens: Ragged, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Some rows of tokens as ``(N, Z)`` int64, padded with 0 on the right, and their lengths, ``(N,)``."""
    lengths = tokens.lengths[rows]
    columns = np.arange(int(lengths.max(initial=1)))
    inside = columns < lengths[:, None]
    places = np.where(inside, tokens.offsets[rows][:, None] + columns, 0)
    return torch.from_numpy(np.where(inside, tokens.values[places], 0).astype(np.int64)), torch.from_numpy(lengths)

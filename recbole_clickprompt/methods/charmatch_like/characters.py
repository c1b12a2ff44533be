"""Texts as numbers of characters, and the convolutions that read them.

Letters: U texts, B rows; C channels, R regions of a text.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ALPHABET", "POOL", "CharacterTexts", "CharacterTower", "CrossConvolution", "encode"]

ALPHABET = string.ascii_lowercase + string.digits + string.punctuation + " "
_OTHER = len(ALPHABET) + 1  # any character that is not in it
_KERNEL = 7  # characters under the first convolution
POOL = 16  # characters of a region
_MATCH_CHANNELS, _HIDDEN = 32, 128


class _Numbers(dict[int, int | None]):
    """Numbers of characters by code point, for ``str.translate``; None removes accents."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.combining(chr(code)) else _OTHER
        return self[code]


_NUMBERS = _Numbers({ord(character): number for number, character in enumerate(ALPHABET, 1)})


@dataclass(frozen=True)
class CharacterTexts:
    """Texts as numbers of characters, from 1; 0 is padding.

    Attributes:
        characters: ``(U, longest)`` uint8.
        lengths: Characters of each text, ``(U,)`` int64.
    """

    characters: Tensor
    lengths: Tensor

    def padded(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Some texts without columns of padding only, ``(B, Z)`` int64, and their lengths, ``(B,)``."""
        lengths = self.lengths[ids]
        return self.characters[ids][:, : max(1, int(lengths.max()))].long(), lengths


def encode(texts: Sequence[str], longest: int) -> CharacterTexts:
    """Numbers the characters of texts, which are lower-cased and without accents, up to ``longest`` per text."""
    rows = [
        unicodedata.normalize("NFKD", text).lower().translate(_NUMBERS)[:longest].encode("latin-1")
        for text in texts
    ]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    characters = np.zeros((len(rows), max(1, int(lengths.max()))), dtype=np.uint8)
    for row, values in zip(characters, rows, strict=True):
        row[: len(values)] = np.frombuffer(values, dtype=np.uint8)
    return CharacterTexts(torch.from_numpy(characters), lengths)


class CharacterTower(nn.Module):
    """One-hot characters -> convolution -> ReLU -> maximum of each region of ``POOL`` characters.

    Positions after the end of a text have the value 0, the least that ReLU gives, so that padding has no effect.

    Args:
        channels: C.
        regions: R; a text has R * POOL characters at most.
    """

    def __init__(self, channels: int, regions: int) -> None:
        super().__init__()
        self.regions = regions
        self.convolution = nn.Conv1d(_OTHER, channels, _KERNEL, padding=_KERNEL // 2)

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """
        Args:
            characters: Numbers of characters, ``(U, Z)`` int64.
            lengths: ``(U,)``.

        Returns:
            ``(U, C, R)``.
        """
        inside = torch.arange(characters.shape[1], device=characters.device) < lengths.unsqueeze(1)
        one_hot = F.one_hot(characters * inside, _OTHER + 1)[..., 1:].to(self.convolution.weight.dtype)
        found = self.convolution(one_hot.transpose(1, 2)).relu() * inside.unsqueeze(1)  # (U, C, Z)
        found = F.pad(found, (0, self.regions * POOL - found.shape[2]))
        return F.max_pool1d(found, POOL)


class CrossConvolution(nn.Module):
    """Matches every region of one text with every region of the other one, by convolutions over the products::

        user (B, C, R) x item (B, C, R) -> products (B, C, R, R) -> 2 x (convolution, ReLU, maximum) -> MLP -> (B,)

    Args:
        channels: C.
        regions: R.
        dropout: Before the last layer.
    """

    def __init__(self, channels: int, regions: int, dropout: float) -> None:
        super().__init__()
        quarter = -(-regions // 4)  # rounded up
        self.layers = nn.Sequential(
            nn.Conv2d(channels, _MATCH_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(_MATCH_CHANNELS, _MATCH_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(_MATCH_CHANNELS * quarter * quarter, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(_HIDDEN, 1),
        )

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """``(B, C, R)`` each, to logits, ``(B,)``."""
        return self.layers(user.unsqueeze(3) * item.unsqueeze(2)).squeeze(1)

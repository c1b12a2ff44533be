"""CharMatchLike's model: two towers over characters, and convolutions over what both found.

Letters: B rows, U texts, A width of a vector; C channels, R regions of a text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.methods.charmatch_like.characters import (
    POOL,
    CharacterTexts,
    CharacterTower,
    CrossConvolution,
    encode,
)
from recbole_clickprompt.methods.text_towers import TextTowers
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.descriptions import descriptions
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.text_vectors import LEVELS

__all__ = ["CharMatchLike"]


class CharMatchLike(TextTowers):
    """``sigmoid(match(tower(text of the user), tower(text of the item)))``; reads texts alone, no ids and values.

    A text consists of the fields of its level in ``text_fields``, without the id. A vector, of width A = C * R,
    holds what a tower found in the R regions of a text. Vectors are stored after training; see ``TextTowers``.

    Args:
        config: Settings of the run.
        dataset: Data set whose text is read.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self._channels, self._longest = config["char_channels"], config["max_characters"]
        regions = -(-self._longest // POOL)
        self.towers = nn.ModuleDict({level: CharacterTower(self._channels, regions) for level in LEVELS})
        self.register_tables(dataset, self._channels * regions)
        self.match = CrossConvolution(self._channels, regions, config["head_dropout"])
        self._dataset = dataset

    @functools.cached_property
    def texts(self) -> dict[str, CharacterTexts]:
        """Texts of all users and items by level; not needed to score known ones.

        Raises:
            SettingError: ``text_fields`` has no field of items other than the id.
        """
        return {level: encode(descriptions(self._dataset, level), self._longest) for level in LEVELS}

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        user, item = (self._vectors(level, interaction).unflatten(1, (self._channels, -1)) for level in LEVELS)
        return self.match(user, item).float()

    def _encode_ids(self, level: str, ids: Tensor) -> Tensor:
        """Vectors of known texts, ``(U, A)`` float32, of distinct ids, ``(U,)`` on the CPU."""
        characters, lengths = self.texts[level].padded(ids)
        return self._encode(level, characters, lengths)

    def _encode(self, level: str, characters: Tensor, lengths: Tensor) -> Tensor:
        """Vectors, ``(U, A)`` float32, of characters, ``(U, Z)``; of an empty text 0."""
        found = self.towers[level](characters.to(self._device), lengths.to(self._device))
        return found.flatten(1).float()

    @torch.no_grad()
    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """The vectors of texts, ``(len(texts), A)``; see ``trainer.text_vectors.EncodesTexts``."""
        encoded = encode(texts, self._longest)
        return self._encode(level, *encoded.padded(torch.arange(len(texts))))

    def vectors_hash(self) -> str:
        """SHA-256 of everything that ``encode_texts`` depends on."""
        return self._hash_with(f"characters {self._longest}")

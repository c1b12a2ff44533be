"""The text of each user and each item, for models that read them separately. Letters: see ``plm/__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.text.entity_texts import EntityTexts, entity_texts
from recbole_clickprompt.text.ragged import Ragged
from recbole_clickprompt.text.tokens import TokenTable, special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["NewTexts", "max_length", "texts_by_level"]


def max_length(longest: int, special: int) -> int:
    """Maximum number of tokens of a user's or an item's text: half of those of a row.

    Args:
        longest: Maximum number of tokens of a row.
        special: Special tokens of each text.

    Raises:
        SettingError: There would be no token left between the special ones.
    """
    half = longest // 2
    if half <= special:
        raise SettingError(
            f"max_text_length is {longest}, of which the texts of user and item get half each, {special} special "
            f"tokens included; set it to {2 * (special + 1)} or more"
        )
    return half


@dataclass
class _OneText:
    """All tokens of one key, as ``entity_texts`` reads them."""

    keys: list[str]
    prefix: list[int]
    suffix: list[int]
    max_length: int
    tokens: Ragged

    def segment(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, their fields, which are not needed, and offsets of the only key."""
        values = torch.from_numpy(self.tokens.values)
        return values, torch.zeros_like(values), torch.from_numpy(self.tokens.offsets)


def texts_by_level(table: TokenTable, keys: Mapping[str, str]) -> dict[str, EntityTexts]:
    """The texts of all users and of all items, each between special tokens.

    Args:
        table: Tokens of the rows. Fields of a row itself, such as a device, are in neither text.
        keys: The column of ids of each level, ``user`` and ``item``.

    Raises:
        SettingError: ``text_fields`` has no field of a level, or ``max_text_length`` is too small.
    """
    limit = max_length(table.max_length, len(table.prefix) + len(table.suffix))
    texts = {}
    for level, key in keys.items():
        segments = [index for index, name in enumerate(table.keys) if name == key]
        if not segments:
            raise SettingError(
                f"text_fields has no field of the {level}, whose text a language model of its own reads; add "
                f"{key} or a feature of the {level}"
            )
        parts = []
        for index in segments:
            tokens, _, offsets = (tensor.cpu().numpy() for tensor in table.segment(index))
            parts.append((Ragged(tokens, offsets), np.arange(len(offsets) - 1)))
        joined = _OneText([key], table.prefix, table.suffix, limit, Ragged.join(parts))
        (texts[level],) = entity_texts(joined)
    return texts


class NewTexts:
    """Tokenizes texts of users and items that no table of the training data has.

    Args:
        tokenizer: The tokenizer of the PLM.
        longest: Maximum number of tokens of a row.

    Raises:
        SettingError: As for ``max_length``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, longest: int) -> None:
        self._tokenizer = tokenizer
        self._prefix, self._suffix = special_tokens(tokenizer)
        special = len(self._prefix) + len(self._suffix)
        self._limit = max_length(longest, special) - special

    def __call__(self, texts: Sequence[str], *, leading: bool) -> tuple[Tensor, Tensor]:
        """
        Args:
            texts: N sentences.
            leading: In the text of a row they come first, without a blank before them, which byte-level BPE
                tells from one with a blank.

        Returns:
            Tokens between special ones, ``(N, Z)`` int64, and lengths, ``(N,)``.
        """
        written = [text if leading else f" {text}" for text in texts]
        tokens = self._tokenizer(written, add_special_tokens=False)["input_ids"]
        whole = [torch.tensor([*self._prefix, *ids[: self._limit], *self._suffix]) for ids in tokens]
        pad = self._tokenizer.pad_token_id
        padded = pad_sequence([ids.long() for ids in whole], batch_first=True, padding_value=pad)
        return padded, torch.tensor([len(ids) for ids in whole])

"""P5's whole-word ids: which word of the input each token is part of. Letters: see ``plm/__init__.py``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["WholeWords", "build_whole_words"]

_MARKS = ("▁", "Ġ")  # how SentencePiece and byte-level BPE write the blank before a word


class WholeWords(nn.Module):
    """An embedding of the number of the word that each token is part of::

        tokens    ▁user ▁ID ▁is ▁u 1 2 . ▁Will ... </s> <pad>
        numbers       1   2   3  4 4 4 4     5        0     0

    Words of a row are numbered from 1; special tokens and padding have 0. The embeddings start at 0, so that a
    pretrained model starts unchanged.

    Args:
        starts: Whether each token of the vocabulary is the first one of a word, ``(tokens,)`` bool.
        special: The special tokens.
        size: Number of embeddings; words from the last one on share it.
        width: W.
    """

    def __init__(self, *, starts: Tensor, special: list[int], size: int, width: int) -> None:
        super().__init__()
        ordinary = torch.ones_like(starts)
        ordinary[special] = False
        self.starts: Tensor
        self.ordinary: Tensor
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("ordinary", ordinary, persistent=False)
        self.embeddings = nn.Embedding(size, width)
        nn.init.zeros_(self.embeddings.weight)

    def table_rows(self) -> dict[str, tuple[int]]:
        """Rows are places of words, and no ids; see ``HasTableRows``."""
        return {"embeddings.weight": (self.embeddings.num_embeddings,)}

    def numbers(self, text: Tensor, lengths: Tensor) -> Tensor:
        """Numbers of words, ``(B, Z)`` int64.

        Args:
            text: Tokens, ``(B, Z)``.
            lengths: Tokens of each row, ``(B,)``.
        """
        inside = torch.arange(text.shape[1], device=text.device) < lengths.unsqueeze(1)
        ordinary = self.ordinary[text] & inside
        first = ordinary.long().cumsum(1) == 1  # it starts a word, with or without a blank before it
        numbers = (ordinary & (self.starts[text] | first)).long().cumsum(1)
        return numbers.clamp(max=self.embeddings.num_embeddings - 1) * ordinary

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        """``(B, Z, W)``; arguments as for ``numbers``."""
        return self.embeddings(self.numbers(text, lengths))


def build_whole_words(tokenizer: PreTrainedTokenizerBase, *, vocab_size: int, size: int, width: int) -> WholeWords:
    """The embeddings for a tokenizer; unknown tokens are parts of words.

    Args:
        tokenizer: A fast tokenizer of transformers.
        vocab_size: Number of tokens that the model has embeddings of.
        size: As for ``WholeWords``.
        width: As for ``WholeWords``.

    Raises:
        SettingError: Its tokens do not show where words start.
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary, starts = tokenizer.get_vocab(), torch.zeros(vocab_size, dtype=torch.bool)
    if model["type"] == "WordPiece":
        continued = model["continuing_subword_prefix"]
        found = [token for piece, token in vocabulary.items() if not piece.startswith(continued)]
    else:
        found = [token for piece, token in vocabulary.items() if piece.startswith(_MARKS)]
    if not found:
        raise SettingError(
            f"p5_ids: tokens of {type(tokenizer).__name__} do not show where words start; set p5_ids to False"
        )
    starts[found] = True
    special = {*tokenizer.all_special_tokens} - {tokenizer.unk_token}
    ids = [token for piece, token in vocabulary.items() if piece in special]
    return WholeWords(starts=starts, special=ids, size=size, width=width)

"""Frozen lower layers at work on rows whose texts nobody has seen before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.preprocessing.preprocessing import Text
from recbole_clickprompt.serving.rows import INPUT_IDS, SEGMENT_LENGTHS, TEXT_LENGTH

__all__ = ["OnTheFlyStates"]


class OnTheFlyStates(nn.Module):
    """In the place of ``StateTable``: makes its states of the tokens that rows bring along.

    Each segment of a row is read alone, between special tokens of its own, once for all rows of a batch that
    have it; states are rounded to bf16 as the table's are. The end of a row that is too long is cut before its
    last special tokens, where the table's is cut behind its text.

    Args:
        plm: A PLM with ``plm_interaction_layers``.
        text: How its text was tokenised.
    """

    def __init__(self, plm: PromptedEncoder, text: Text) -> None:
        super().__init__()
        self._plm = [plm]  # in a list: a part of the model already
        self.prefix, self.suffix = text.prefix, text.suffix

    def lengths(self, batch: Any) -> Tensor:
        """Tokens of each row, ``(B,)`` int64."""
        return batch[TEXT_LENGTH]

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """States, ``(B, Z, W)``, zero at padding; and lengths, ``(B,)`` int64."""
        (plm,), lengths, parts = self._plm, batch[TEXT_LENGTH], batch[SEGMENT_LENGTHS]  # (B, S)
        input_ids = batch[INPUT_IDS][:, : int(lengths.max())]
        states = torch.zeros(*input_ids.shape, plm.hidden_size, device=input_ids.device)
        begin = torch.full_like(lengths, len(self.prefix))
        last = parts.shape[1] - 1
        for index, length in enumerate(parts.unbind(1)):
            lone, lone_lengths = self._alone(input_ids, begin, length)
            texts, back = torch.unique(torch.cat([lone, lone_lengths.unsqueeze(1)], 1), dim=0, return_inverse=True)
            made = plm.encode_lower(texts[:, :-1], texts[:, -1]).to(torch.bfloat16).float()[back]
            front = 0 if index == 0 else len(self.prefix)
            kept = lone_lengths - front - (0 if index == last else len(self.suffix))
            within = torch.arange(int(kept.max()), device=kept.device)
            row, place = torch.nonzero(within < kept.unsqueeze(1), as_tuple=True)
            states[row, begin[row] - len(self.prefix) + front + place] = made[row, front + place]
            begin = begin + length
        return states, lengths

    def _alone(self, input_ids: Tensor, begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Texts of ``length`` tokens from ``begin`` on, between special tokens: ``(B, N)``; lengths, ``(B,)``."""
        within = torch.arange(int(length.max()), device=length.device)
        column = (begin.unsqueeze(1) + within).clamp(max=input_ids.shape[1] - 1)
        inside = within < length.unsqueeze(1)
        tokens = input_ids.gather(1, column).masked_fill(~inside, 0)
        front, behind = tokens.new_tensor(self.prefix), tokens.new_zeros(len(tokens), len(self.suffix))
        lone = torch.cat([front.expand(len(tokens), -1), tokens, behind], dim=1)
        for step, token in enumerate(self.suffix):
            lone.scatter_(1, (length + len(self.prefix) + step).unsqueeze(1), token)
        return lone, length + len(self.prefix) + len(self.suffix)

"""States of the frozen lower layers for texts that are not cached."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.preprocessing.schema import Text
from recbole_clickprompt.serving.rows import INPUT_IDS, SEGMENT_LENGTHS, TEXT_LENGTH

__all__ = ["OnTheFlyStates"]


class OnTheFlyStates(nn.Module):
    """Replaces ``StateTable`` in serving: computes states of the tokens in each batch.

    Each segment of a row is encoded separately, between its own special tokens, once for all rows of the batch
    that share it; states are rounded to bf16 as in the table. A row that is too long is truncated before its last
    special tokens, whereas the table truncates at the end of the text.

    Letters: B rows, Z tokens, S segments, N tokens of the longest segment with special tokens, W width of a state.

    Args:
        plm: A PLM with ``plm_interaction_layers``.
        text: How its text was tokenized.
    """

    def __init__(self, plm: PromptedEncoder, text: Text) -> None:
        super().__init__()
        self._plm = [plm]  # in a list, so that it is not registered twice
        self.prefix, self.suffix = text.prefix, text.suffix

    def lengths(self, batch: Interaction) -> Tensor:
        """Number of tokens of each row, ``(B,)`` int64."""
        return batch[TEXT_LENGTH]

    def forward(self, batch: Interaction) -> tuple[Tensor, Tensor]:
        """States, ``(B, Z, W)``, zero at padding; and lengths, ``(B,)`` int64."""
        (plm,), lengths, parts = self._plm, batch[TEXT_LENGTH], batch[SEGMENT_LENGTHS]  # (B, S)
        input_ids = batch[INPUT_IDS][:, : int(lengths.max())]
        states = torch.zeros(*input_ids.shape, plm.hidden_size, device=input_ids.device)
        begin = torch.full_like(lengths, len(self.prefix))  # of the segment in the row, (B,)
        last = parts.shape[1] - 1
        for index, length in enumerate(parts.unbind(1)):
            segments, segment_lengths = self._segments(input_ids, begin, length)
            rows = torch.cat([segments, segment_lengths.unsqueeze(1)], 1)
            unique, inverse = torch.unique(rows, dim=0, return_inverse=True)
            encoded = plm.encode_lower(unique[:, :-1], unique[:, -1]).to(torch.bfloat16).float()[inverse]
            # Of the special tokens, only those at both ends of the row are kept
            skipped = 0 if index == 0 else len(self.prefix)
            kept = segment_lengths - skipped - (0 if index == last else len(self.suffix))
            within = torch.arange(int(kept.max()), device=kept.device)
            row, position = torch.nonzero(within < kept.unsqueeze(1), as_tuple=True)
            position = position + skipped
            states[row, begin[row] - len(self.prefix) + position] = encoded[row, position]
            begin = begin + length
        return states, lengths

    def _segments(self, input_ids: Tensor, begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Segments of ``length`` tokens from ``begin``, between special tokens: ``(B, N)``; lengths, ``(B,)``."""
        within = torch.arange(int(length.max()), device=length.device)
        column = (begin.unsqueeze(1) + within).clamp(max=input_ids.shape[1] - 1)
        inside = within < length.unsqueeze(1)
        tokens = input_ids.gather(1, column).masked_fill(~inside, 0)
        prefix, space = tokens.new_tensor(self.prefix), tokens.new_zeros(len(tokens), len(self.suffix))
        segments = torch.cat([prefix.expand(len(tokens), -1), tokens, space], dim=1)
        for step, token in enumerate(self.suffix):
            segments.scatter_(1, (length + len(self.prefix) + step).unsqueeze(1), token)
        return segments, length + len(self.prefix) + len(self.suffix)

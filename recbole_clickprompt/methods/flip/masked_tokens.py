"""Masked language modeling from the text and the backbone's representation of the intact ids.

Letters: see ``plm/__init__.py``; n rows of a part of a batch, ``masked`` the number of its masked tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.token_loss import token_loss

__all__ = ["TokenPredictor", "TokensFound"]

# Columns that are added to a batch; names of fields contain no colon
_TEXT, _POSITIONS, _LABELS, _PER_ROW = "masked:text", "masked:positions", "masked:labels", "masked:per_row"


class TokensFound(NamedTuple):
    """
    Attributes:
        loss: Mean cross entropy over the masked tokens of a part, a scalar in nats; 0 if it has none.
        correct: Whether each is predicted, ``(masked,)``.
        share: Masked tokens per row of the part, divided by those per row of the batch.
    """

    loss: Tensor
    correct: Tensor
    share: Tensor


class TokenPredictor(nn.Module):
    """Masks tokens of a batch, and predicts them: ``Linear(Dropout(tanh(Linear([state, q]))))``.

    Args:
        text: Maps a batch to its masked text: a module of ``plm.text_inputs.build_masked_text``.
        hidden_size: W, width of the PLM's states.
        input_size: Q, width of the backbone's representation.
        vocabulary: The token of each logit, ``(V,)`` ascending.
        dropout: Its rate.
    """

    def __init__(
        self, *, text: nn.Module, hidden_size: int, input_size: int, vocabulary: Tensor, dropout: float
    ) -> None:
        super().__init__()
        self.text = text
        self.head = nn.Sequential(
            nn.Linear(hidden_size + input_size, hidden_size),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, len(vocabulary)),
        )
        self.vocabulary: Tensor
        self.register_buffer("vocabulary", vocabulary, persistent=False)

    @property
    def output_names(self) -> list[str]:
        """Names of the weights with a row per token of the vocabulary."""
        last = len(self.head) - 1
        return [f"head.{last}.weight", f"head.{last}.bias"]

    def sample(self, interaction: Interaction) -> dict[str, Tensor]:
        """Masks the text of B rows.

        Returns:
            Columns of the corrupted text, ``(B, Z)``, of the masked positions and tokens, ``(B, P)`` each, and the
            mean number of masked tokens per row, the same in all rows, ``(B,)``.
        """
        masked, _ = self.text(interaction)
        per_row = (masked.labels >= 0).sum().float() / len(masked.labels)
        return {
            _TEXT: masked.text,
            _POSITIONS: masked.positions,
            _LABELS: masked.labels,
            _PER_ROW: per_row.expand(len(masked.labels)),
        }

    def forward(self, plm: PromptedEncoder, batch: Interaction, q: Tensor, lengths: Tensor) -> TokensFound:
        """
        Args:
            plm: Encoder.
            batch: n rows with the columns of ``sample``.
            q: The backbone's representation of their intact ids, ``(n, Q)``.
            lengths: Tokens of each row, ``(n,)``.
        """
        used = batch[_LABELS] >= 0
        longest, most = int(lengths.max()), max(1, int(used.sum(1).max()))  # without padding that no row needs
        used = used[:, :most]
        states = plm(batch[_TEXT][:, :longest], lengths, positions=batch[_POSITIONS][:, :most])  # (n, P, W)
        row, _ = torch.nonzero(used, as_tuple=True)
        logits = self.head(torch.cat([states[used], q[row].to(states.dtype)], dim=1))  # (masked, V)
        labels = torch.searchsorted(self.vocabulary, batch[_LABELS][:, :most][used])
        share = len(labels) / len(used) / batch[_PER_ROW][:1].clamp(min=1e-9)
        if not len(labels):
            return TokensFound(0.0 * logits.sum(), used.new_zeros(0), share.squeeze(0))
        return TokensFound(*token_loss(logits, labels), share.squeeze(0))

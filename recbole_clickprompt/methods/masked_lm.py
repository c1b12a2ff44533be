"""Masked language modeling of the text of rows, for any method that pretrains a language model.

Letters: B rows, Z tokens of a text, N masked tokens of a batch, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.heads import DecoderHead, TokenHead
from recbole_clickprompt.plm.token_loss import token_loss
from recbole_clickprompt.text.masking import MaskedTokens
from recbole_clickprompt.trainer.running_metrics import RunningMean

__all__ = ["MaskedLM", "MaskedRows"]


class MaskedRows(NamedTuple):
    """Rows whose text is corrupted and whose ids are intact; lengths of the text, ``(B,)``."""

    interaction: Interaction
    masked: MaskedTokens
    lengths: Tensor

    @property
    def rows(self) -> int:
        """Their number."""
        return len(self.lengths)

    def select(self, rows: Tensor) -> tuple[MaskedRows, float]:
        """Some of them, without the padding they do not need, and their share of the tokens to recover."""
        masked, lengths = self.masked, self.lengths[rows]
        asked = masked.labels[rows] >= 0
        longest, most = int(lengths.max()), max(1, int(asked.sum(1).max()))
        corrupted = MaskedTokens(
            masked.text[rows, :longest], masked.positions[rows, :most], masked.labels[rows, :most]
        )
        total = int((masked.labels >= 0).sum())
        return MaskedRows(self.interaction[rows], corrupted, lengths), int(asked.sum()) / max(total, 1)


class MaskedLM(nn.Module):
    """Recovers masked tokens from the rest of the text: a ``trainer.protocols.StageModel``.

    Args:
        plm: Encoder.
        lm_head: Recovers masked text, tied to the encoder's input embeddings.
        new_head: The head starts random, so it learns at the rate of what starts new.
        text: Gives the rows' masked text: ``MaskedText``, or states of it.
        vocabulary: Tokens that the head's logits stand for, ``(V,)`` ascending; None is all of the PLM's.
    """

    def __init__(
        self,
        *,
        plm: PromptedEncoder,
        lm_head: TokenHead | DecoderHead,
        new_head: bool,
        text: nn.Module,
        vocabulary: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.plm, self.lm_head, self.new_head, self.text = plm, lm_head, new_head, text
        self.metrics = {"mlm": RunningMean()}
        self.vocabulary: Tensor | None
        self.register_buffer("vocabulary", vocabulary, persistent=False)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The PLM's, and its LM head's where it has one."""
        head = [] if self.new_head else list(self.lm_head.parameters())
        return list({id(p): p for p in [*self.plm.parameters(), *head]}.values())

    def split(self, interaction: Interaction, size: int) -> list[tuple[Any, float]]:
        """The parts of ``masked_parts``."""
        return list(self.masked_parts(interaction, size))

    def masked_parts(self, interaction: Interaction, size: int) -> list[tuple[MaskedRows, float]]:
        """Masks the batch once, and cuts it into parts of ``size`` rows of similar length.

        Returns:
            Parts with weights that sum to 1.
        """
        masked, lengths = self.text(interaction)
        whole = MaskedRows(interaction, masked, lengths)
        parts = [whole.select(rows) for rows in lengths.argsort(stable=True).split(size)]
        return [(part, share) for part, share in parts if share]  # special tokens alone have no mean loss

    def rows(self, part: Any) -> int:
        """The number of its rows."""
        return part.rows

    def select(self, part: Any, rows: Tensor) -> tuple[Any, float]:
        """Some rows of a part, and their share of what it asks."""
        return part.select(rows)

    def logits(self, rows: MaskedRows) -> tuple[Tensor, Tensor]:
        """Vocabulary logits at the masked positions, ``(N, V)``, and which one is right, ``(N,)``."""
        return self.lm_head(self.plm, rows.masked, rows.lengths, None), self.labels(rows)

    def labels(self, rows: MaskedRows) -> Tensor:
        """The right one among the vocabulary's tokens, ``(N,)``."""
        labels = rows.masked.labels[rows.masked.labels >= 0]
        return labels if self.vocabulary is None else torch.searchsorted(self.vocabulary, labels)

    def calculate_loss(self, part: Any) -> Tensor:
        """Mean cross entropy over the masked positions, a scalar in nats; counts in the metrics.

        Where nothing is masked, which a rank's rows of a part may be, it is 0.
        """
        logits, labels = self.logits(part)
        if not len(labels):
            return 0.0 * logits.sum()
        loss, right = token_loss(logits, labels)
        self.metrics["mlm"].add(loss, right)
        return loss

"""Masked language modeling of the text of rows, for any method that pretrains a language model.

Letters: see ``plm/__init__.py``; ``masked`` in a shape is the number of masked tokens of a part of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.heads import LMHead
from recbole_clickprompt.plm.token_loss import token_loss
from recbole_clickprompt.text.masking import MaskedTokens
from recbole_clickprompt.trainer.running_metrics import RunningMean

__all__ = ["BatchPart", "MaskedLM", "MaskedRows"]


class BatchPart(Protocol):
    """A part of a batch, which processes can share."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    def select(self, rows: Tensor) -> tuple[Any, float]:
        """A subset of rows, by number, and its share of the loss."""


class MaskedRows(NamedTuple):
    """Rows whose text is corrupted and whose ids are intact; a ``BatchPart``.

    Attributes:
        interaction: Columns of the B rows.
        masked: Corrupted text and the tokens to predict.
        lengths: Tokens of each row, ``(B,)``.
    """

    interaction: Interaction
    masked: MaskedTokens
    lengths: Tensor

    @property
    def rows(self) -> int:
        """B, the number of rows."""
        return len(self.lengths)

    def select(self, rows: Tensor) -> tuple[MaskedRows, float]:
        """A subset of rows, without padding that it does not need, and its share of the tokens to predict."""
        masked, lengths = self.masked, self.lengths[rows]
        used = masked.labels[rows] >= 0
        longest, most = int(lengths.max()), max(1, int(used.sum(1).max()))
        corrupted = MaskedTokens(
            masked.text[rows, :longest], masked.positions[rows, :most], masked.labels[rows, :most]
        )
        total = int((masked.labels >= 0).sum())
        return MaskedRows(self.interaction[rows], corrupted, lengths), int(used.sum()) / max(total, 1)


class MaskedLM(nn.Module):
    """Recovers masked tokens from the rest of the text: a ``trainer.protocols.StageModel``.

    Args:
        plm: Encoder.
        lm_head: Predicts masked tokens; tied to the encoder's input embeddings.
        new_head: The head has random weights, so it is trained at the learning rate of new weights.
        text: Maps a batch to its masked text: a module of ``plm.text_inputs.build_masked_text``.
        vocabulary: The token of each of the head's logits, ``(V,)`` ascending; None is the PLM's whole vocabulary.

    Attributes:
        metrics: Running loss and accuracy of each objective.
    """

    def __init__(
        self,
        *,
        plm: PromptedEncoder,
        lm_head: LMHead,
        new_head: bool,
        text: nn.Module,
        vocabulary: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.plm, self.lm_head, self.new_head, self.text = plm, lm_head, new_head, text
        self.metrics: Mapping[str, RunningMean] = {"mlm": RunningMean()}
        self.vocabulary: Tensor | None
        self.register_buffer("vocabulary", vocabulary, persistent=False)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the PLM and, if it is pretrained, of its LM head, each once."""
        head = [] if self.new_head else list(self.lm_head.parameters())
        return list({id(p): p for p in [*self.plm.parameters(), *head]}.values())

    def split(self, interaction: Interaction, size: int) -> list[tuple[Any, float]]:
        """As ``masked_parts``."""
        return list(self.masked_parts(interaction, size))

    def masked_parts(self, interaction: Interaction, size: int) -> list[tuple[MaskedRows, float]]:
        """Masks a batch once and splits it into parts of ``size`` rows of similar length.

        Returns:
            Parts and their weights, the shares of the masked tokens, which sum to 1.
        """
        masked, lengths = self.text(interaction)
        whole = MaskedRows(interaction, masked, lengths)
        parts = [whole.select(rows) for rows in lengths.argsort(stable=True).split(size)]
        return [(part, share) for part, share in parts if share]  # rows with special tokens only have no mean loss

    def rows(self, part: BatchPart) -> int:
        """Number of rows of a part."""
        return part.rows

    def select(self, part: BatchPart, rows: Tensor) -> tuple[Any, float]:
        """A subset of the rows of a part, by number, and its share of the part's loss."""
        return part.select(rows)

    def logits(self, rows: MaskedRows) -> tuple[Tensor, Tensor]:
        """Vocabulary logits at the masked positions, ``(masked, V)``, and the correct columns, ``(masked,)``."""
        return self.lm_head(self.plm, rows.masked, rows.lengths, None), self.labels(rows)

    def labels(self, rows: MaskedRows) -> Tensor:
        """Columns of the correct tokens among the logits, ``(masked,)`` int64."""
        labels = rows.masked.labels[rows.masked.labels >= 0]
        return labels if self.vocabulary is None else torch.searchsorted(self.vocabulary, labels)

    def calculate_loss(self, part: MaskedRows) -> Tensor:
        """Mean cross entropy over the masked positions, a scalar in nats; also added to ``metrics``.

        It is 0 if nothing is masked, which can happen for one process's rows of a part.
        """
        logits, labels = self.logits(part)
        if not len(labels):
            return 0.0 * logits.sum()
        loss, right = token_loss(logits, labels)
        self.metrics["mlm"].add(loss, right)
        return loss

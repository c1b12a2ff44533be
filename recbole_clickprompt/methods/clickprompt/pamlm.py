"""Prompt-augmented masked language modelling, PA-MLM (ClickPrompt, section 3.5.1)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import Backbone
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator, SharedPromptGenerator
from recbole_clickprompt.methods.clickprompt.replaced_item import ItemPairs, ReplacedItem
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.heads import DecoderHead, TokenHead
from recbole_clickprompt.plm.token_loss import token_loss
from recbole_clickprompt.text.masking import MaskedTokens
from recbole_clickprompt.trainer.running_metrics import Tally

__all__ = ["PAMLM", "MaskedRows", "Part"]


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


Part: TypeAlias = MaskedRows | ItemPairs


class PAMLM(nn.Module):
    """Recovers masked tokens from the rest of the text and the prompts, which come from the intact ids.

    Args:
        backbone: CTR model.
        prompt: Its prompts.
        plm: Encoder that the prompts enter.
        lm_head: Recovers masked text, tied to the encoder's input embeddings.
        new_head: The head starts random, so it learns at the backbone's rate.
        text: Gives the rows' masked text: ``MaskedText``, or states of it.
        vocabulary: Tokens that the head's logits stand for, ``(V,)`` ascending; None is all of the PLM's.
        detector: A second objective, of the same backbone, whose loss is added
        detector_weight: times this.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        prompt: PromptGenerator | SharedPromptGenerator,
        plm: PromptedEncoder,
        lm_head: TokenHead | DecoderHead,
        new_head: bool,
        text: nn.Module,
        vocabulary: Tensor | None = None,
        detector: ReplacedItem | None = None,
        detector_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone, self.prompt, self.plm, self.lm_head = backbone, prompt, plm, lm_head
        self.new_head, self.text = new_head, text
        self.detector, self.detector_weight = detector, detector_weight
        self.tallies = {"mlm": Tally(), **(detector.tallies if detector else {})}
        self.vocabulary: Tensor | None
        self.register_buffer("vocabulary", vocabulary, persistent=False)

    @property
    def num_prompts(self) -> int:
        """K, prompts a layer."""
        return self.prompt.shape[1]

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """What training began long before us: the PLM, and its LM head where it has one."""
        head = [] if self.new_head else list(self.lm_head.parameters())
        return list({id(p): p for p in [*self.plm.parameters(), *head]}.values())

    def split(self, interaction: Interaction, size: int) -> list[tuple[Part, float]]:
        """The parts of ``masked_parts``, and those of the detector times its weight.

        ``calculate_loss`` of the parts, so weighted, adds up to that of the batch.
        """
        pairs = self.detector.split(interaction) if self.detector else []
        detected = [(part, self.detector_weight * share) for part, share in pairs]
        return [*self.masked_parts(interaction, size), *detected]

    def masked_parts(self, interaction: Interaction, size: int) -> list[tuple[MaskedRows, float]]:
        """Masks the batch once, and cuts it into parts of ``size`` rows of similar length.

        Returns:
            Parts with weights that sum to 1.
        """
        masked, lengths = self.text(interaction)
        whole = MaskedRows(interaction, masked, lengths)
        parts = [whole.select(rows) for rows in lengths.argsort(stable=True).split(size)]
        return [(part, share) for part, share in parts if share]  # special tokens alone have no mean loss

    def rows(self, part: Part) -> int:
        """Number of its rows."""
        return part.rows

    def select(self, part: Part, rows: Tensor) -> tuple[Part, float]:
        """Some rows of a part, and their share of what it asks."""
        return part.select(rows)

    def logits(
        self, rows: MaskedRows, *, prompt_mask: Tensor | None = None, prompts_of: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Vocabulary logits at the masked positions, ``(N, V)``, and which one is right, ``(N,)``.

        Args:
            rows: Masked rows.
            prompt_mask: As the encoder takes it.
            prompts_of: The row whose prompts each row gets, ``(B,)``; None gives it its own.
        """
        q, _ = self.backbone(rows.interaction)
        if prompts_of is not None:
            q = q[prompts_of]
        logits = self.lm_head(self.plm, rows.masked, rows.lengths, self.prompt(q), prompt_mask)
        labels = rows.masked.labels[rows.masked.labels >= 0]
        return logits, labels if self.vocabulary is None else torch.searchsorted(self.vocabulary, labels)

    def calculate_loss(self, part: Part) -> Tensor:
        """Mean cross entropy over the masked positions, a scalar in nats, or the detector's.

        It counts in the tallies. Where nothing is masked, which a rank's rows of a part may be, it is 0.
        """
        if isinstance(part, ItemPairs):
            assert self.detector is not None  # it made the part
            return self.detector.calculate_loss(part)
        logits, labels = self.logits(part)
        if not len(labels):
            return 0.0 * logits.sum()
        loss, right = token_loss(logits, labels)
        self.tallies["mlm"].add(loss, right)
        return loss

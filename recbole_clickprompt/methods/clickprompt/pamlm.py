"""Prompt-augmented masked language modeling, PA-MLM (ClickPrompt, section 3.5.1).

Letters: see ``plm/__init__.py``; ``masked`` in a shape is the number of masked tokens of a part of a batch.
"""

from __future__ import annotations

from typing import TypeAlias

from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import Backbone
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator, SharedPromptGenerator
from recbole_clickprompt.methods.clickprompt.replaced_item import ItemPairs, ReplacedItem
from recbole_clickprompt.methods.masked_lm import MaskedLM, MaskedRows
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.heads import LMHead

__all__ = ["PAMLM", "Part"]


Part: TypeAlias = MaskedRows | ItemPairs


class PAMLM(MaskedLM):
    """Recovers masked tokens from the rest of the text and from prompts, which are generated from the intact ids.

    Gradients of the loss reach the embeddings of the backbone through the prompts::

        ids, intact -> backbone -> q (B, Q) -> prompts (L, B, K, W) --+
        text, masked (B, Z) ------------------------------------------+-> PLM -> LM head -> logits (masked, V)

    Args:
        backbone: CTR model.
        prompt: Generates prompts from the backbone's representation.
        plm: As for ``MaskedLM``, like the arguments up to ``vocabulary``.
        lm_head: See ``MaskedLM``.
        new_head: See ``MaskedLM``.
        text: See ``MaskedLM``.
        vocabulary: See ``MaskedLM``.
        detector: A second objective for the same backbone, whose loss is added; None for PA-MLM alone.
        detector_weight: Weight of the detector's loss.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        prompt: PromptGenerator | SharedPromptGenerator,
        plm: PromptedEncoder,
        lm_head: LMHead,
        new_head: bool,
        text: nn.Module,
        vocabulary: Tensor | None = None,
        detector: ReplacedItem | None = None,
        detector_weight: float = 1.0,
    ) -> None:
        super().__init__(plm=plm, lm_head=lm_head, new_head=new_head, text=text, vocabulary=vocabulary)
        self.backbone, self.prompt = backbone, prompt
        self.detector, self.detector_weight = detector, detector_weight
        if detector:
            self.metrics = {**self.metrics, **detector.metrics}

    @property
    def num_prompts(self) -> int:
        """K, prompts per layer."""
        return self.prompt.shape[1]

    def split(self, interaction: Interaction, size: int) -> list[tuple[Part, float]]:
        """The parts of ``masked_parts``, then those of the detector, whose weights include ``detector_weight``.

        The weighted sum of ``calculate_loss`` over the parts is the loss of the batch.
        """
        pairs = self.detector.split(interaction) if self.detector else []
        detected = [(part, self.detector_weight * share) for part, share in pairs]
        return [*self.masked_parts(interaction, size), *detected]

    def logits(
        self, rows: MaskedRows, *, prompt_mask: Tensor | None = None, prompts_of: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predictions at the masked positions.

        Args:
            rows: Masked rows.
            prompt_mask: True where a row attends to its prompts, ``(B, K)``; None is everywhere.
            prompts_of: Number of the row whose prompts each row reads, ``(B,)``; None: each row reads its prompts.

        Returns:
            Vocabulary logits, ``(masked, V)``, and the correct columns, ``(masked,)``.
        """
        q, _ = self.backbone(rows.interaction)
        if prompts_of is not None:
            q = q[prompts_of]
        logits = self.lm_head(self.plm, rows.masked, rows.lengths, self.prompt(q), prompt_mask)
        return logits, self.labels(rows)

    def calculate_loss(self, part: Part) -> Tensor:
        """The loss of ``MaskedLM`` or that of the detector, by the type of the part."""
        if isinstance(part, ItemPairs):
            assert self.detector is not None  # the part comes from it
            return self.detector.calculate_loss(part)
        return super().calculate_loss(part)

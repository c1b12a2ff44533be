"""Prompt-augmented masked language modelling, PA-MLM (ClickPrompt, section 3.5.1)."""

from __future__ import annotations

from typing import Any, TypeAlias

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_clickprompt.backbones.adapter import Backbone
from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator, SharedPromptGenerator
from recbole_clickprompt.methods.clickprompt.replaced_item import ItemPairs, ReplacedItem
from recbole_clickprompt.methods.masked_lm import MaskedLM, MaskedRows

__all__ = ["PAMLM", "Part"]


Part: TypeAlias = MaskedRows | ItemPairs


class PAMLM(MaskedLM):
    """Recovers masked tokens from the rest of the text and the prompts, which come from the intact ids.

    Args:
        backbone: CTR model.
        prompt: Its prompts.
        detector: A second objective, of the same backbone, whose loss is added
        detector_weight: times this.
        options: As of ``MaskedLM``.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        prompt: PromptGenerator | SharedPromptGenerator,
        detector: ReplacedItem | None = None,
        detector_weight: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.backbone, self.prompt = backbone, prompt
        self.detector, self.detector_weight = detector, detector_weight
        self.metrics |= detector.metrics if detector else {}

    @property
    def num_prompts(self) -> int:
        """K, prompts per layer."""
        return self.prompt.shape[1]

    def split(self, interaction: Interaction, size: int) -> list[tuple[Part, float]]:
        """The parts of ``masked_parts``, and those of the detector times its weight.

        ``calculate_loss`` of the parts, so weighted, adds up to that of the batch.
        """
        pairs = self.detector.split(interaction) if self.detector else []
        detected = [(part, self.detector_weight * share) for part, share in pairs]
        return [*self.masked_parts(interaction, size), *detected]

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
        return logits, self.labels(rows)

    def calculate_loss(self, part: Part) -> Tensor:
        """The loss of ``MaskedLM``, or the detector's."""
        if isinstance(part, ItemPairs):
            assert self.detector is not None  # it made the part
            return self.detector.calculate_loss(part)
        return super().calculate_loss(part)

"""What the models of methods are to RecBole: context-aware, trained on labeled rows."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LabeledRowsModel"]


class LabeledRowsModel(AbstractRecommender):
    """A ``trainer.protocols.CTRModel`` that lacks ``forward``, which gives logits, ``(B,)``.

    A model that reads text has it in ``text`` (``TokenTable`` or ``StateTable``): rows of similar length then go
    through it together, ``micro_batch_size`` at once.

    Args:
        config: RecBole's.
    """

    type = ModelType.CONTEXT
    input_type = InputType.POINTWISE

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.label_field = config["LABEL_FIELD"]
        self.micro_batch_size = config["micro_batch_size"]
        self.text: Any = None

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """None: all weights start new."""
        return []

    def rows(self, part: Interaction) -> int:
        """The number of its rows."""
        return len(part)

    def select(self, part: Interaction, rows: Tensor) -> tuple[Interaction, float]:
        """Some rows and their share of all."""
        return part[rows], len(rows) / len(part)

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """Cuts the batch into parts of ``size`` rows of similar length; without text it is one part.

        Returns:
            Parts with weights that sum to 1; ``calculate_loss`` of the parts, so weighted, adds up to that of the
            batch.
        """
        if self.text is None:
            return [(interaction, 1.0)]
        order = self.text.lengths(interaction).argsort(stable=True)
        return [self.select(interaction, rows) for rows in order.split(size)]

    def blocks(self, interaction: Interaction, at_least: int) -> tuple[Tensor, ...]:
        """Rows in the blocks in which ``predict`` processes them; without text, in ``at_least`` equal ones."""
        if self.text is None:
            return torch.arange(len(interaction)).chunk(at_least)
        return self.text.lengths(interaction).argsort(stable=True).split(self.micro_batch_size)

    def in_blocks(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``, of long batches block by block."""
        blocks = self.blocks(interaction, 1)
        if len(blocks) < 2:  # unchanged: selecting its rows from each column takes time
            return self(interaction)
        parts = [self(interaction[rows]) for rows in blocks]
        return torch.cat(parts)[torch.cat(blocks).argsort()]

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        raise NotImplementedError

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """The columns that ``score`` makes a probability of, each ``(B,)``."""
        return {"logit": self.in_blocks(interaction)}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of ``predict_logits``, ``(B,)``."""
        return torch.sigmoid(logits["logit"])

    def predict(self, interaction: Interaction) -> Tensor:
        """Probabilities, ``(B,)``."""
        return self.score(self.predict_logits(interaction))

    def prediction_constants(self) -> dict[str, float]:
        """None: no further column of the predictions has one value for all rows."""
        return {}

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy, a scalar."""
        return F.binary_cross_entropy_with_logits(self(interaction), interaction[self.label_field].float())

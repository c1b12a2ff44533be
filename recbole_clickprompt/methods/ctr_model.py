"""Base class of the models of methods: to RecBole, context-aware models trained on labeled rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    from recbole_clickprompt.text.states import StateTable
    from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["LabeledRowsModel"]


class LabeledRowsModel(AbstractRecommender):
    """A ``trainer.protocols.CTRModel`` without ``forward``, which subclasses implement.

    If a model sets ``text``, a batch is processed in parts of ``micro_batch_size`` rows of similar length, so that
    there is little padding::

        batch            rows in the order of the loader, with texts of any length
        argsort          rows from the shortest text to the longest
        split, blocks    parts of ``micro_batch_size`` rows, each padded to its longest text
        argsort          results back in the order of the batch

    Args:
        config: Settings of the run: ``LABEL_FIELD``, ``micro_batch_size``, ``pos_weight`` and ``train_negatives``.

    Attributes:
        text: Tokens or states of the rows; None for a model without text.
        no_export: Why the model cannot be written as an ONNX file; empty if it can.
    """

    no_export = ""

    type = ModelType.CONTEXT
    input_type = InputType.POINTWISE

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.label_field = config["LABEL_FIELD"]
        self.micro_batch_size = config["micro_batch_size"]
        if config["embedding_engine"] == "torchrec":
            self.no_export = "its embedding tables are in files of their own"
        self.text: TokenTable | StateTable | None = None
        self._pos_weight = config["pos_weight"]
        # The odds of a click are 1 / s times as high where only a share s of the other rows was trained on
        self._correction = math.log(config["train_negatives"])

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Empty: all weights start from random values."""
        return []

    def rows(self, part: Interaction) -> int:
        """Number of rows of a part."""
        return len(part)

    def select(self, part: Interaction, rows: Tensor) -> tuple[Interaction, float]:
        """A subset of rows, by number, and its share of the part."""
        return part[rows], len(rows) / len(part)

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """Splits a batch into parts of ``size`` rows of similar length; without text there is one part.

        Returns:
            Parts and their weights, which sum to 1: the weighted sum of ``calculate_loss`` over the parts is the
            loss of the batch.
        """
        if self.text is None:
            return [(interaction, 1.0)]
        order = self.text.lengths(interaction).argsort(stable=True)
        return [self.select(interaction, rows) for rows in order.split(size)]

    def blocks(self, interaction: Interaction, at_least: int) -> tuple[Tensor, ...]:
        """Row numbers of the blocks that ``predict`` processes; without text, ``at_least`` equal blocks."""
        if self.text is None:
            return torch.arange(len(interaction)).chunk(at_least)
        return self.text.lengths(interaction).argsort(stable=True).split(self.micro_batch_size)

    def in_blocks(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``, computed block by block, in the order of the batch."""
        blocks = self.blocks(interaction, 1)
        if len(blocks) < 2:  # selecting all rows from each column would take time
            return self(interaction)
        parts = [self(interaction[rows]) for rows in blocks]
        return torch.cat(parts)[torch.cat(blocks).argsort()]

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        raise NotImplementedError

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """The columns from which ``score`` computes probabilities, each ``(B,)``."""
        return {"logit": self.in_blocks(interaction)}

    def probability(self, logit: Tensor) -> Tensor:
        """Probabilities of a click for logits of any shape, corrected for ``train_negatives``."""
        return torch.sigmoid(logit + self._correction if self._correction else logit)

    def cross_entropy(self, logit: Tensor, label: Tensor) -> Tensor:
        """Mean binary cross entropy of ``(B,)`` logits and labels, a scalar; label 1 has ``pos_weight``."""
        weight = None if self._pos_weight == 1 else logit.new_tensor(self._pos_weight)
        return F.binary_cross_entropy_with_logits(logit, label.float(), pos_weight=weight)

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(logits["logit"])

    def predict(self, interaction: Interaction) -> Tensor:
        """Probabilities of a click, ``(B,)``."""
        return self.score(self.predict_logits(interaction))

    def prediction_constants(self) -> dict[str, float]:
        """Empty: there are no further columns of the predictions with one value for all rows."""
        return {}

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy, a scalar."""
        return self.cross_entropy(self(interaction), interaction[self.label_field])

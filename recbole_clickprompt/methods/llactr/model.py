"""LLaCTR's model: a backbone, and products of its fields' embeddings weighed by what the names of fields mean.

Letters: B rows, F fields, d width of an embedding, W width of a name's vector.
"""

from __future__ import annotations

from pathlib import Path

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from torch import Tensor

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.base import feature_names
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.llactr.field_values import FieldValues
from recbole_clickprompt.methods.llactr.knowledge import FieldAlignment, FieldInteractions
from recbole_clickprompt.methods.llactr.self_training import build_field_matching
from recbole_clickprompt.plm.config import read_config
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.pretrained_checkpoint import load_pretrained

__all__ = ["LLaCTR"]


class LLaCTR(LabeledRowsModel):
    """``sigmoid(backbone(x) + w sum_{i < j} <e_i, e_j> (M c)_ij)``, trained with an alignment of embeddings::

        names of fields ──> language model ──> h (F, W) ── cosines c ── M c ────────────┐
                            once                 │                                     v
        ids ──> embeddings e (B, F, d) ──┬───────┼──────> products <e_i, e_j> ──> weighted sum ──┐
                                         │       v                                               ├──> logit
                                         ├── KL: loss of training                                │
                                         └──────────────> backbone ──────────────────────────────┘

    With a weight of 0 a part does not exist; with both at 0, the model is the backbone.

    Args:
        config: Settings of the run.
        dataset: The training rows; or in serving their schema.

    Attributes:
        backbone: The CTR model.
        names: The F fields in words, sorted by the names of their columns: the order of all pairs.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config, dataset)
        columns = feature_names(self.backbone.model)
        order = sorted(range(len(columns)), key=columns.__getitem__)
        words = config["text_fields"] or {}
        self.names = [str(words.get(columns[n], columns[n].replace("_", " "))) for n in order]
        self.order: Tensor
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self._interaction_weight = config["field_interaction_weight"]
        self._alignment_weight = config["field_alignment_weight"]
        if self._interaction_weight:
            self.interactions = FieldInteractions(len(columns))
        if self._alignment_weight:
            width = int(read_config(find_plm(config["plm"], seed=config["seed"])).hidden_size)
            self.alignment = FieldAlignment(len(columns), width=width, embedding_size=config["embedding_size"])

    def encode_names(self, config: Settings, start: Path | None) -> None:
        """Computes the vectors of the names of fields, unless nothing reads them.

        Args:
            config: Settings of the run.
            start: The checkpoint of self-training; None for the language model as it is.

        Raises:
            WeightsError: The checkpoint is damaged or of another language model.
        """
        if not (self._interaction_weight or self._alignment_weight):
            return
        encoder = build_field_matching(config, FieldValues(self.names, []), adapted=start is not None)
        if start is not None:
            load_pretrained(encoder, start)
        with torch.no_grad():
            vectors = encoder.to(config["device"]).eval().encode(self.names)
        if self._interaction_weight:
            self.interactions.set_names(vectors)
        if self._alignment_weight:
            self.alignment.set_names(vectors)

    def _embeddings(self, interaction: Interaction) -> Tensor:
        """The embeddings of the fields in the order of ``names``, ``(B, F, d)``."""
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            embeddings = ContextRecommender.concat_embed_input_fields(self.backbone.model, interaction)
        return embeddings.index_select(1, self.order)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        logit = self.backbone.logit(interaction)
        if not self._interaction_weight:
            return logit
        with torch.autocast(logit.device.type, enabled=False):
            return logit + self._interaction_weight * self.interactions(self._embeddings(interaction))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy, and the weighted divergence of embeddings from names; a scalar."""
        loss = super().calculate_loss(interaction)
        if not self._alignment_weight:
            return loss
        with torch.autocast(loss.device.type, enabled=False):
            return loss + self._alignment_weight * self.alignment(self._embeddings(interaction))

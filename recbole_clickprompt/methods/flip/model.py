"""FLIP's finetuned model: the backbone, the language model, or both. Letters: see ``plm/__init__.py``."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.pooling import build_pooling
from recbole_clickprompt.plm.text_inputs import build_text_table
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource

__all__ = ["FLIP"]


class FLIP(LabeledRowsModel):
    """By ``finetune_towers``: ``sigmoid(y_ctr)``, ``sigmoid(y_plm)`` or ``sigmoid(a * y_ctr + (1 - a) * y_plm)``.

    The weight a is learned. A form without the PLM has the modules of the backbone alone, and its cost::

        ids:    ids -> backbone -> y_ctr (B,) -------------------------------+
                                                                             +-> both
        text:   text -> PLM -> pooled state (B, W) -> Linear -> y_plm (B,) --+

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Attributes:
        pretrained_components: Submodules that a pretraining checkpoint initializes.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        towers = config["finetune_towers"]
        self.reads_ids, self.reads_text = towers != "text", towers != "ids"
        components = {"backbone": self.reads_ids, "plm": self.reads_text}
        self.pretrained_components = tuple(name for name, present in components.items() if present)
        if self.reads_ids:
            self.backbone = build_backbone(config, dataset)
        if self.reads_text:
            self.plm, _ = build_encoder(config)
            self.text = build_text_table(config, dataset, self.plm)
            self.pooling = build_pooling(config["plm_pooling"])
            self.head = nn.Linear(self.plm.hidden_size, 1)
        if towers == "both":
            self.fusion_weight = nn.Parameter(torch.tensor(float(config["fusion_weight"])))  # a

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the PLM, if there is one, which are trained at ``plm_learning_rate``."""
        return list(self.plm.parameters()) if self.reads_text else []

    def logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr`` and ``logit_plm``, or one of them, each ``(B,)`` float32."""
        found = {}
        if self.reads_ids:
            found["logit_ctr"] = self.backbone.logit(interaction)
        if self.reads_text:
            assert self.text is not None
            text, lengths = self.text(interaction)
            pooled = self.pooling(self.plm, text, lengths, None)  # (B, W)
            with torch.autocast(pooled.device.type, enabled=False):
                found["logit_plm"] = self.head(pooled.float()).squeeze(1)
        return found

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        return self._fused(self.logits(interaction))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy, a scalar in nats; with both towers that of the fused logit and of each tower,
        added up.
        """
        logits, labels = self.logits(interaction), interaction[self.label_field]
        loss = self.cross_entropy(self._fused(logits), labels)
        if len(logits) == 1:
            return loss
        return loss + sum(self.cross_entropy(logit, labels) for logit in logits.values())

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """The columns of ``logits``, computed in blocks of rows of similar length."""
        blocks = self.blocks(interaction, 1)
        if len(blocks) < 2:  # selecting all rows from each column would take time
            return self.logits(interaction)
        parts, order = [self.logits(interaction[rows]) for rows in blocks], torch.cat(blocks).argsort()
        return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(self._fused(logits))

    def prediction_constants(self) -> dict[str, float]:
        """With both towers ``fusion_weight``: the weight a of the backbone's logit."""
        return {"fusion_weight": self.fusion_weight.item()} if self.reads_ids and self.reads_text else {}

    def _fused(self, logits: dict[str, Tensor]) -> Tensor:
        if len(logits) == 1:
            return next(iter(logits.values()))
        return self.fusion_weight * logits["logit_ctr"] + (1 - self.fusion_weight) * logits["logit_plm"]

"""BERT4CTRLike's models: the one that is served, and the same in the stage that leaves the PLM unchanged.

Letters: see ``plm/__init__.py``; G meta tokens per row.
"""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.bert4ctr_like.meta_tokens import MetaTokens
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.labeled_stage import LabeledStageModel
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.prompted_layer import gather_positions
from recbole_clickprompt.plm.text_inputs import build_text_table
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["BERT4CTRLike", "WithFrozenPLM"]

_DROPOUT = 0.1  # where plm_dropout is not set


class BERT4CTRLike(LabeledRowsModel):
    """``sigmoid(head([summary state of the text; mean of the meta tokens]))``::

        ids  -> backbone -> q (B, Q) -> meta tokens (B, G, W) ---> mean (B, W) -----+
                                          ^ one-way attention, layer by layer       +-> MLP -> logit (B,)
        text -> PLM: states of each layer (B, Z, W) -----------> summary (B, W) ----+

    Of the backbone only the representation q is read, not its logit; with the default, a DNN, q is an MLP of the
    embeddings of all features.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Raises:
        SettingError: The PLM does not support ``plm_lora`` or ``plm_interaction_layers``, or its number of heads
            does not divide the width of its states.
        WeightsError: The PLM cannot be obtained.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config, dataset)
        self.plm, _ = build_encoder(config)
        self.text: TokenTable | StateTable = build_text_table(config, dataset, self.plm)
        width, dropout = self.plm.hidden_size, config["plm_dropout"]
        heads = self.plm.encoder.config.num_attention_heads
        if width % heads:
            raise SettingError(
                f"{config['model']} reads states of width {width} with the PLM's number of heads, {heads}, which "
                f"does not divide it in this {self.plm.encoder.config.model_type!r} model; use another plm"
            )
        self.meta = MetaTokens(
            input_size=self.backbone.width(dataset[torch.arange(min(2, len(dataset)))]),
            count=config["meta_tokens"],
            width=width,
            num_layers=self.plm.prompt_layers,
            heads=heads,
            dropout=_DROPOUT if dropout is None else dropout,
        )
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.Tanh(), nn.Linear(width, 1))

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the PLM, which are trained at ``plm_learning_rate``."""
        return list(self.plm.parameters())

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        q, _ = self.backbone(interaction)
        text, lengths = self.text(interaction)
        states = self.plm.states(text, lengths)[1:]
        meta = self.meta(q, states, lengths)
        place = lengths - 1 if self.plm.causal else torch.zeros_like(lengths)
        summary = gather_positions(states[-1], place.unsqueeze(1)).squeeze(1)
        with torch.autocast(q.device.type, enabled=False):
            return self.head(torch.cat([summary.float(), meta.float().mean(1)], dim=1)).squeeze(1)


class WithFrozenPLM(LabeledStageModel, BERT4CTRLike):
    """The model of the stage before finetuning, in which everything but the PLM is trained."""

    stage = "frozen_plm"

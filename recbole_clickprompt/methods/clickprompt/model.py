"""The two models to finetune: with the PLM (Eq. 9) and without it (Eq. 10)."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.clickprompt.builders import build_components
from recbole_clickprompt.methods.clickprompt.inference import SingleLayerScorer
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.plm.pooling import SummaryPooling, build_pooling
from recbole_clickprompt.plm.text_inputs import build_text_table
from recbole_clickprompt.text.states import StateTable

__all__ = ["ClickPrompt", "ClickPromptNoPLM"]

_CACHE_BYTES = 2 << 30  # of keys and values, at most


class ClickPromptNoPLM(LabeledRowsModel):
    """The backbone alone, started from PA-MLM: ``sigmoid(y_ctr)`` (Eq. 10), at the plain backbone's cost.

    Not pretrained (``train_stage: finetune`` without ``pre_model_path``) it is the plain backbone.
    """

    pretrained_components = ("backbone",)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config, dataset)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        return self.backbone.logit(interaction)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr``, which is all that a score is made of, ``(B,)``."""
        return {"logit_ctr": self(interaction)}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Scores of ``predict_logits``, ``(B,)``."""
        return torch.sigmoid(logits["logit_ctr"])


class NoPrompts(nn.Module):
    """In the place of prompts where finetuning does without ("w/o Prompt", Table 5)."""

    def forward(self, q: Tensor) -> None:
        """Nothing, whatever q is."""


class ClickPrompt(LabeledRowsModel):
    """Backbone and prompted PLM together: ``sigmoid(a * y_ctr + (1 - a) * y_plm)`` (Eq. 9), a learnt."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config)
        self.prompt: nn.Module
        self.backbone, self.prompt, self.plm, _ = build_components(config, dataset)
        self.pretrained_components: tuple[str, ...] = ("backbone", "prompt", "plm")
        if not config["finetune_prompts"]:
            self.prompt, self.pretrained_components = NoPrompts(), ("backbone", "plm")
        self.text = build_text_table(config, dataset, self.plm)
        self.pooling = build_pooling(config["plm_pooling"])
        self._cache: SingleLayerScorer | None = None
        self._warned = False
        self.register_load_state_dict_post_hook(lambda module, _: module._clear_cache())
        width = self.plm.hidden_size
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        weight = torch.tensor(float(config["fusion_weight"]))
        self.fusion_weight = nn.Parameter(weight, requires_grad=config["fusion_learnable"])  # a
        self.tower_loss_weight = config["tower_loss_weight"]
        self.prompt_dropout = config["prompt_dropout"]

    def _clear_cache(self) -> None:
        self._cache = None

    def train(self, mode: bool = True) -> ClickPrompt:
        """As torch's; clears the inference cache, which depends on the weights."""
        self._clear_cache()
        return super().train(mode)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The PLM's, which train at ``plm_learning_rate``."""
        return list(self.plm.parameters())

    def logits(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """``y_ctr`` and ``y_plm`` (Eq. 8), each ``(B,)`` float32."""
        q, ctr = self.backbone(interaction)
        if self._cache is not None and self._cache.same_precision():
            return ctr, self._cache(interaction, q)
        text, lengths = self.text(interaction)
        prompts = self.prompt(q)
        pooled = self.pooling(self.plm, text, lengths, prompts, self._shown(prompts))
        with torch.autocast(q.device.type, enabled=False):  # as for the backbone's logit
            return ctr, self.head(pooled.float()).squeeze(1)

    def _shown(self, prompts: Tensor | None) -> Tensor | None:
        """Which rows' prompts ``(L, B, K, W)`` the PLM sees in training, ``(B, K)``; None for all."""
        if prompts is None or not (self.training and self.prompt_dropout):
            return None
        _, rows, count, _ = prompts.shape
        return (torch.rand(rows, 1, device=prompts.device) >= self.prompt_dropout).expand(rows, count)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        return self._fused(*self.logits(interaction))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy of the fused logit (Eq. 9), a scalar.

        ``tower_loss_weight`` of it is that of ``y_ctr`` and of ``y_plm`` instead, half each: what the sum already
        tells, neither of the two has to learn, and the one that overfits first spoils it for both.
        """
        labels = interaction[self.label_field].float()
        ctr, plm = self.logits(interaction)
        loss = F.binary_cross_entropy_with_logits(self._fused(ctr, plm), labels)
        share = self.tower_loss_weight
        if not share:
            return loss
        towers = [F.binary_cross_entropy_with_logits(logit, labels) for logit in (ctr, plm)]
        return (1 - share) * loss + share * (towers[0] + towers[1]) / 2

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr`` and ``logit_plm``, each ``(B,)``, worked off as by ``predict``."""
        usable = self._cache is not None and self._cache.same_precision()
        if not (self.training or torch.is_grad_enabled() or usable):
            self._cache = self._build_cache()
        blocks = self.blocks(interaction, 1) if self._cache is None else ()
        if len(blocks) < 2:  # as it is: picking its rows out of each column takes time
            ctr, plm = self.logits(interaction)
        else:
            parts = [self.logits(interaction[rows]) for rows in blocks]
            back = torch.cat(blocks).argsort()
            ctr, plm = (torch.cat(logits)[back] for logits in zip(*parts, strict=True))
        return {"logit_ctr": ctr, "logit_plm": plm}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Scores of ``predict_logits``, ``(B,)``."""
        return torch.sigmoid(self._fused(logits["logit_ctr"], logits["logit_plm"]))

    def prediction_constants(self) -> dict[str, float]:
        """The share of the backbone's logit."""
        return {"fusion_weight": self.fusion_weight.item()}

    def _fused(self, ctr: Tensor, plm: Tensor) -> Tensor:
        return self.fusion_weight * ctr + (1 - self.fusion_weight) * plm

    def _build_cache(self) -> SingleLayerScorer | None:
        """The inference cache; None where this model has none, or it would take too much memory."""
        if not isinstance(self.text, StateTable) or not isinstance(self.pooling, SummaryPooling):
            return None
        if not SingleLayerScorer.is_supported(self.plm):
            return None
        size = SingleLayerScorer.max_bytes(self.plm, self.text)
        if size <= _CACHE_BYTES:
            return SingleLayerScorer(self.plm, self.prompt, self.text, self.head)
        if not self._warned:
            getLogger().warning(
                f"keys and values of all texts would take {size / 2**30:.2g} GiB, more than the "
                f"{_CACHE_BYTES / 2**30:.2g} GiB that are kept in memory; they are computed for each row, which "
                "takes longer. A smaller max_text_length, or fewer text_fields, may help"
            )
            self._warned = True
        return None

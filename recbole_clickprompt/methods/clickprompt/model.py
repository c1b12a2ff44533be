"""The two models to finetune: with the PLM (Eq. 9) and without it (Eq. 10)."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.clickprompt.builders import build_parts
from recbole_clickprompt.methods.clickprompt.inference.single_layer import FixedLayer
from recbole_clickprompt.plm.pooling import SummaryPooling, build_pooling
from recbole_clickprompt.plm.text_inputs import build_text
from recbole_clickprompt.text.states import StateTable

__all__ = ["ClickPrompt", "ClickPromptNoPLM"]

_FIXED_BYTES = 2 << 30  # of keys and values that it may keep


class _CTRModel(AbstractRecommender):
    """What both models are to RecBole: context-aware, trained on labelled rows."""

    type = ModelType.CONTEXT
    input_type = InputType.POINTWISE
    # Parts that a pretraining checkpoint holds for this model
    handed_over: tuple[str, ...]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.label_field = config["LABEL_FIELD"]
        self.micro_batch_size = config["micro_batch_size"]

    def rows(self, part: Interaction) -> int:
        """Number of its rows."""
        return len(part)

    def select(self, part: Interaction, rows: Tensor) -> tuple[Interaction, float]:
        """Some rows and their share of all."""
        return part[rows], len(rows) / len(part)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        raise NotImplementedError

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy (Eq. 2), a scalar."""
        return F.binary_cross_entropy_with_logits(self(interaction), interaction[self.label_field].float())


class ClickPromptNoPLM(_CTRModel):
    """The backbone alone, started from PA-MLM: ``sigmoid(y_ctr)`` (Eq. 10), at the plain backbone's cost.

    Not pretrained (``train_stage: finetune`` without ``pre_model_path``) it is the plain backbone.
    """

    handed_over = ("backbone",)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config, dataset)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """None: a backbone has no language to lose."""
        return []

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """The batch in one part: a backbone needs no smaller ones."""
        return [(interaction, 1.0)]

    def blocks(self, interaction: Interaction, at_least: int) -> tuple[Tensor, ...]:
        """Rows in equal blocks, to be predicted one by one."""
        return torch.arange(len(interaction)).chunk(at_least)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        return self.backbone.logit(interaction)

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores, ``(B,)``."""
        return torch.sigmoid(self(interaction))

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


class ClickPrompt(_CTRModel):
    """Backbone and prompted PLM together: ``sigmoid(a * y_ctr + (1 - a) * y_plm)`` (Eq. 9), a learnt."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config)
        self.prompt: nn.Module
        self.backbone, self.prompt, self.plm, _ = build_parts(config, dataset)
        self.handed_over = ("backbone", "prompt", "plm")
        if not config["finetune_prompts"]:
            self.prompt, self.handed_over = NoPrompts(), ("backbone", "plm")
        self.text = build_text(config, dataset, self.plm)
        self.pooling = build_pooling(config["plm_pooling"])
        self._fixed: FixedLayer | None = None
        self._told = False
        self.register_load_state_dict_post_hook(lambda module, _: module._forget())
        width = self.plm.hidden_size
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        weight = torch.tensor(float(config["fusion_weight"]))
        self.fusion_weight = nn.Parameter(weight, requires_grad=config["fusion_learnable"])  # a
        self.tower_loss_weight = config["tower_loss_weight"]
        self.prompt_dropout = config["prompt_dropout"]

    def _forget(self) -> None:
        self._fixed = None

    def train(self, mode: bool = True) -> ClickPrompt:
        """As torch's; what was made of the weights so far is forgotten."""
        self._forget()
        return super().train(mode)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The PLM's, which train at ``plm_learning_rate``."""
        return list(self.plm.parameters())

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """Cuts the batch into parts of ``size`` rows of similar length.

        Returns:
            Parts with weights that sum to 1; ``calculate_loss`` of the parts, so weighted, adds up to that of
            the batch.
        """
        order = self.text.lengths(interaction).argsort(stable=True)
        return [self.select(interaction, rows) for rows in order.split(size)]

    def blocks(self, interaction: Interaction, at_least: int) -> tuple[Tensor, ...]:
        """Rows in the blocks of similar length in which ``predict`` works them off."""
        return self.text.lengths(interaction).argsort(stable=True).split(self.micro_batch_size)

    def logits(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """``y_ctr`` and ``y_plm`` (Eq. 8), each ``(B,)`` float32."""
        q, ctr = self.backbone(interaction)
        if self._fixed is not None and self._fixed.fits():
            return ctr, self._fixed(interaction, q)
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

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores, ``(B,)``; long batches are worked off in parts of ``micro_batch_size`` rows, or larger ones."""
        return self.score(self.predict_logits(interaction))

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr`` and ``logit_plm``, each ``(B,)``, worked off as by ``predict``."""
        if not (self.training or torch.is_grad_enabled() or (self._fixed is not None and self._fixed.fits())):
            self._fixed = self._fix()
        blocks = self.blocks(interaction, 1) if self._fixed is None else ()
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

    def _fused(self, ctr: Tensor, plm: Tensor) -> Tensor:
        return self.fusion_weight * ctr + (1 - self.fusion_weight) * plm

    def _fix(self) -> FixedLayer | None:
        """What need not be computed again as long as the weights stay, where there is something."""
        if not isinstance(self.text, StateTable) or not isinstance(self.pooling, SummaryPooling):
            return None
        if not FixedLayer.serves(self.plm):
            return None
        size = FixedLayer.most_bytes(self.plm, self.text)
        if size <= _FIXED_BYTES:
            return FixedLayer(self.plm, self.prompt, self.text, self.head)
        if not self._told:
            getLogger().warning(
                f"keys and values of all texts would take {size / 2**30:.2g} GiB, more than the "
                f"{_FIXED_BYTES / 2**30:.2g} GiB that are kept in memory; they are made anew for each row, which "
                "takes longer. A smaller max_text_length, or fewer text_fields, may help"
            )
            self._told = True
        return None

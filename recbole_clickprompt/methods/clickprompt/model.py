"""The two models to finetune: with the PLM (ClickPrompt, Eq. 9) and without it (Eq. 10).

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

from logging import getLogger

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.clickprompt.builders import build_components
from recbole_clickprompt.methods.clickprompt.inference import SingleLayerScorer
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.plm.pooling import SummaryPooling, build_pooling
from recbole_clickprompt.plm.text_inputs import build_text_table
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["ClickPrompt", "ClickPromptNoPLM"]

_CACHE_BYTES = 2 << 30  # maximum size of cached keys and values


class ClickPromptNoPLM(LabeledRowsModel):
    """The backbone alone, initialized by PA-MLM: ``sigmoid(y_ctr)`` (Eq. 10), at the cost of the plain backbone.

    Without pretraining (``train_stage: finetune`` without ``pre_model_path``) it is the plain backbone.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields the backbone embeds.

    Attributes:
        pretrained_components: Submodules that a pretraining checkpoint initializes.
    """

    pretrained_components = ("backbone",)

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config, dataset)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        return self.backbone.logit(interaction)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr``, ``(B,)``, from which ``score`` computes the probability."""
        return {"logit_ctr": self(interaction)}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(logits["logit_ctr"])


class NoPrompts(nn.Module):
    """Replaces the prompt generator if prompts are not used in finetuning ("w/o Prompt", Table 5)."""

    def forward(self, q: Tensor) -> None:
        """None for any q."""


class ClickPrompt(LabeledRowsModel):
    """Backbone and prompted PLM together: ``sigmoid(a * y_ctr + (1 - a) * y_plm)`` (Eq. 9).

    The weight a is learned. The flow of a batch, in which ``text`` are tokens ``(B, Z)`` or, with interaction
    layers, states ``(B, Z, W)``::

        ids -> backbone -+-> y_ctr (B,) ------------------------------------------------------------------+
                         +-> q (B, Q) -> prompts (L, B, K, W) --+                                         +-> fused
        ids -> text table -> text, lengths (B,) ----------------+-> pooling (B, W) -> head -> y_plm (B,) -+

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Attributes:
        pretrained_components: Submodules that a pretraining checkpoint initializes.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self.prompt: nn.Module
        self.backbone, self.prompt, self.plm, _ = build_components(config, dataset)
        self.pretrained_components: tuple[str, ...] = ("backbone", "prompt", "plm")
        if not config["finetune_prompts"]:
            self.prompt, self.pretrained_components = NoPrompts(), ("backbone", "plm")
        self.text: TokenTable | StateTable = build_text_table(config, dataset, self.plm)
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
        """As for ``nn.Module``; clears the inference cache, since the weights may change."""
        self._clear_cache()
        return super().train(mode)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the PLM, which are trained at ``plm_learning_rate``."""
        return list(self.plm.parameters())

    def logits(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """``y_ctr`` and ``y_plm`` (Eq. 8), each ``(B,)`` float32."""
        q, ctr = self.backbone(interaction)
        if self._cache is not None and self._cache.same_precision():
            return ctr, self._cache(interaction, q)
        text, lengths = self.text(interaction)
        prompts = self.prompt(q)
        pooled = self.pooling(self.plm, text, lengths, prompts, self._shown(prompts))
        with torch.autocast(q.device.type, enabled=False):  # in float32, as the backbone's logit
            return ctr, self.head(pooled.float()).squeeze(1)

    def _shown(self, prompts: Tensor | None) -> Tensor | None:
        """Prompt mask of a training step, ``(B, K)``, False for rows whose prompts are dropped; None otherwise."""
        if prompts is None or not (self.training and self.prompt_dropout):
            return None
        _, rows, count, _ = prompts.shape
        return (torch.rand(rows, 1, device=prompts.device) >= self.prompt_dropout).expand(rows, count)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        return self._fused(*self.logits(interaction))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy, a scalar in nats: with ``w = tower_loss_weight``::

            (1 - w) * BCE(fused) + w * (BCE(y_ctr) + BCE(y_plm)) / 2

        The paper has w = 0 (Eq. 2 and 9). Under the fused loss each tower fits the other's residual, and the first
        one to overfit degrades both.
        """
        labels = interaction[self.label_field]
        ctr, plm = self.logits(interaction)
        loss = self.cross_entropy(self._fused(ctr, plm), labels)
        weight = self.tower_loss_weight
        if not weight:
            return loss
        towers = [self.cross_entropy(logit, labels) for logit in (ctr, plm)]
        return (1 - weight) * loss + weight * (towers[0] + towers[1]) / 2

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr`` and ``logit_plm``, each ``(B,)``, computed in blocks of rows of similar length.

        In evaluation without gradients the first call builds the inference cache if the model supports one.
        """
        usable = self._cache is not None and self._cache.same_precision()
        if not (self.training or torch.is_grad_enabled() or usable):
            self._cache = self._build_cache()
        blocks = self.blocks(interaction, 1) if self._cache is None else ()
        if len(blocks) < 2:  # selecting all rows from each column would take time
            ctr, plm = self.logits(interaction)
        else:
            parts = [self.logits(interaction[rows]) for rows in blocks]
            order = torch.cat(blocks).argsort()  # back to the order of the batch
            ctr, plm = (torch.cat(logits)[order] for logits in zip(*parts, strict=True))
        return {"logit_ctr": ctr, "logit_plm": plm}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(self._fused(logits["logit_ctr"], logits["logit_plm"]))

    def prediction_constants(self) -> dict[str, float]:
        """``fusion_weight``: the weight a of the backbone's logit."""
        return {"fusion_weight": self.fusion_weight.item()}

    def _fused(self, ctr: Tensor, plm: Tensor) -> Tensor:
        """Logits of Eq. 9, ``(B,)``."""
        return self.fusion_weight * ctr + (1 - self.fusion_weight) * plm

    def _build_cache(self) -> SingleLayerScorer | None:
        """The inference cache; None if the model does not support one or it would take too much memory."""
        if not isinstance(self.text, StateTable) or not isinstance(self.pooling, SummaryPooling):
            return None
        if not SingleLayerScorer.is_supported(self.plm):
            return None
        size = SingleLayerScorer.max_bytes(self.plm, self.text)
        if size <= _CACHE_BYTES:
            return SingleLayerScorer(self.plm, self.prompt, self.text, self.head)
        if not self._warned:
            getLogger().warning(
                f"caching keys and values of all texts would take {size / 2**30:.2g} GiB, more than the limit of "
                f"{_CACHE_BYTES / 2**30:.2g} GiB; they are computed for each row, which takes longer. A smaller "
                "max_text_length or fewer text_fields may help"
            )
            self._warned = True
        return None

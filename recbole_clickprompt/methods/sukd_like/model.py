"""SuKDLike's models: a CTR model with a large text tower, and the same with a small one that learns from it.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.labeled_stage import LabeledStageModel
from recbole_clickprompt.methods.sukd_like.settings import check_layers
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.config import read_config
from recbole_clickprompt.plm.pooling import SummaryPooling
from recbole_clickprompt.plm.text_inputs import build_text_table
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import TokenTable
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components

__all__ = ["SuKDLike", "Teacher", "TextTower", "build_teacher"]


class TextTower(nn.Module):
    """``head(PLM(text))`` of the summary token, the head a linear layer.

    Args:
        config: Settings of the run.
        num_layers: Keep the PLM's first layers only; None for ``plm_num_layers``.
    """

    def __init__(self, config: Settings, *, num_layers: int | None = None) -> None:
        super().__init__()
        self.plm, _ = build_encoder(config, num_layers=num_layers)
        self.head = nn.Linear(self.plm.hidden_size, 1)
        self._pooling = SummaryPooling()

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        """Logits, ``(B,)`` float32, of texts, ``(B, Z)``, of these lengths, ``(B,)``."""
        pooled = self._pooling(self.plm, text, lengths, None)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled.float()).squeeze(1)


class _TwoTowers(LabeledRowsModel):
    """``backbone(ids) + tower(text)``, the sum of two logits.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.
        num_layers: Layers of the text tower's PLM.
    """

    def __init__(self, config: Settings, dataset: TextSource, num_layers: int | None = None) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config, dataset)
        self.tower = TextTower(config, num_layers=num_layers)
        self.text: TokenTable | StateTable = build_text_table(config, dataset, self.tower.plm)

    @property
    def plm(self) -> nn.Module:
        """The encoder of the text tower."""
        return self.tower.plm

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the PLM, which have a learning rate of their own."""
        return list(self.plm.parameters())

    def logits(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Logits of the backbone and of the text tower, each ``(B,)`` float32."""
        return self.backbone.logit(interaction), self.tower(*self.text(interaction))

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        ctr, plm = self.logits(interaction)
        return ctr + plm


class Teacher(LabeledStageModel, _TwoTowers):
    """Both towers, trained together so that the PLM learns what ids do not contain."""

    stage = "teacher"


class SuKDLike(_TwoTowers):
    """The backbone and a PLM of fewer layers, which also learns the logits of the teacher's PLM::

        loss = BCE(backbone + student) + distill_weight * MSE(teacher, student)

    The teacher gets no gradient. It is no submodule: neither checkpoints nor states of unfinished runs contain it.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Raises:
        SettingError: The student does not have fewer layers than the teacher.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        layers = config["plm_num_layers"]
        if layers is None:
            layers = read_config(find_plm(config["plm"], seed=config["seed"])).num_hidden_layers
        check_layers(config["student_layers"], layers)
        super().__init__(config, dataset, config["student_layers"])
        self.distill_weight = config["distill_weight"]
        self._build_teacher = functools.partial(TextTower, config)
        self._teacher: list[TextTower] = []  # a list hides it from the module's parameters and state

    def read_stage(self, checkpoint: Path | None) -> None:
        """Loads the teacher's text tower; see ``trainer.protocols.ReadsLastStage``."""
        if checkpoint is not None and self.distill_weight:
            teacher = self._load_teacher(checkpoint).eval().requires_grad_(False)
            self._teacher = [teacher.to(self.tower.head.weight.device)]

    def begin(self, checkpoint: Path) -> None:
        """Starts from the teacher: its backbone, its head and the lower layers of its PLM.

        Raises:
            WeightsError: The checkpoint is damaged or does not fit.
        """
        load_components(self, checkpoint, ("backbone",))
        weights = self._load_teacher(checkpoint).state_dict()
        self.tower.load_state_dict({name: weights[name] for name in self.tower.state_dict()})

    def _load_teacher(self, checkpoint: Path) -> TextTower:
        with torch.random.fork_rng(devices=[]):  # its initial weights are replaced
            tower = self._build_teacher()
        load_components(nn.ModuleDict({"tower": tower}), checkpoint, ("tower",))
        return tower

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The loss of the class, a scalar in nats."""
        ctr, student = self.logits(interaction)
        loss = self.cross_entropy(ctr + student, interaction[self.label_field])
        if not self._teacher:
            return loss
        with torch.no_grad():
            target = self._teacher[0](*self.text(interaction))
        return loss + self.distill_weight * F.mse_loss(student, target)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr`` and ``logit_plm``, each ``(B,)``, computed in blocks of rows of similar length."""
        blocks = self.blocks(interaction, 1)
        parts = [self.logits(interaction[rows]) for rows in blocks]
        order = torch.cat(list(blocks)).argsort()
        ctr, plm = (torch.cat(logits)[order] for logits in zip(*parts, strict=True))
        return {"logit_ctr": ctr, "logit_plm": plm}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(logits["logit_ctr"] + logits["logit_plm"])


def build_teacher(config: Settings, dataset: TextSource) -> Teacher:
    """The model of the stage ``teacher``, with a random backbone and the PLM's own weights."""
    return Teacher(config, dataset)

"""PTab's two models: the masked language model, and the classifier that starts from it.

The public description does not specify the classifier's head; here it is one linear layer on the pooled states
(``plm_pooling``), by default on the first token's state. Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.masked_lm import MaskedLM
from recbole_clickprompt.plm.builders import build_encoder, build_lm_head
from recbole_clickprompt.plm.pooling import build_pooling
from recbole_clickprompt.plm.text_inputs import build_masked_text, build_text_table
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.running_metrics import compute_and_reset
from recbole_clickprompt.trainer.stage import autocast

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

    from recbole_clickprompt.text.states import StateTable
    from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["PTab", "build_masked_lm", "evaluate_masked_lm"]


class PTab(LabeledRowsModel):
    """``sigmoid(head(pool(text)))``, the head a linear layer.

    Args:
        config: Settings of the run.
        dataset: Data set whose text is read.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self.plm, _ = build_encoder(config)
        self.text: TokenTable | StateTable = build_text_table(config, dataset, self.plm)
        self.pooling = build_pooling(config["plm_pooling"])
        self.head = nn.Linear(self.plm.hidden_size, 1)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the language model, which are trained at ``plm_learning_rate``."""
        return list(self.plm.parameters())

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        text, lengths = self.text(interaction)
        pooled = self.pooling(self.plm, text, lengths, None)  # (B, W)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled.float()).squeeze(1)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_plm``, ``(B,)``, computed in blocks of rows of similar length."""
        return {"logit_plm": self.in_blocks(interaction)}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(logits["logit_plm"])


def build_masked_lm(config: Settings, dataset: TextSource) -> MaskedLM:
    """The model of the pretraining stage.

    Raises:
        SettingError: As for ``build_encoder``, ``build_lm_head`` and ``build_masked_text``.
        WeightsError: The PLM cannot be obtained.
    """
    plm, language_model = build_encoder(config)
    lm_head, vocabulary = build_lm_head(config, dataset, language_model)
    return MaskedLM(
        plm=plm,
        lm_head=lm_head,
        new_head=language_model.head_is_new,
        text=build_masked_text(config, dataset, plm),
        vocabulary=vocabulary,
    )


@torch.no_grad()
def evaluate_masked_lm(config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
    """Evaluates masked language modeling on rows that are masked once, by the seed of the run.

    Args:
        config: Settings of the run.
        model: A ``MaskedLM`` on the run's device.
        data: Loader of the rows; processes share each batch.

    Returns:
        ``mlm_loss`` (nats per masked token) and ``mlm_accuracy``.
    """
    assert isinstance(model, MaskedLM)
    device, group = config["device"], distributed.current()
    model.eval()
    compute_and_reset(model.metrics, device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        for interaction, *_ in data:
            parts = model.masked_parts(interaction.to(device), config["micro_batch_size"])
            for part, _ in parts[group.rank :: group.world]:
                with autocast(device, config["enable_amp"]):
                    model.calculate_loss(part)
    return compute_and_reset(model.metrics, device)

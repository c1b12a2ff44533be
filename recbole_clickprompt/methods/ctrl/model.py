"""CTRL's two models: the contrast of ids and text, and the backbone that is finetuned after it.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import Backbone, build_backbone
from recbole_clickprompt.methods.clickprompt.model import ClickPromptNoPLM
from recbole_clickprompt.methods.ctrl.contrast import contrast
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.pooling import AveragePooling, SummaryPooling, build_pooling
from recbole_clickprompt.plm.text_inputs import build_text_table
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.gradient_caching import WholeBatchModel, whole_batch_size
from recbole_clickprompt.trainer.running_metrics import RunningMean, compute_and_reset

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

    from recbole_clickprompt.text.states import StateTable
    from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["CTRL", "Contrast", "build_contrast", "evaluate_contrast"]


class CTRL(ClickPromptNoPLM):
    """The backbone alone, started from the contrast of ids and text: ``sigmoid(y_ctr)``.

    It is the model of ``ClickPromptNoPLM``, with the same modules and cost. The backbone's last layer is not part
    of the contrast, so it starts from random weights.
    """


class Contrast(WholeBatchModel):
    """Finds the text of each row of ids among those of the batch, and the ids of each text; a ``StageModel``.

    ::

        ids  -> backbone -> q (B, Q) ---------------> Linear(Q, S * w) -> (B, S, w) --+
        text -> PLM -> pooled state (B, W) ---------> Linear(W, S * w) -> (B, S, w) --+-> contrast

    Labels are not read.

    Args:
        backbone: CTR model.
        input_size: Q, width of its representation.
        plm: Encoder.
        text: Maps a batch to the encoder's text.
        pooling: Makes one vector of the states of a text.
        width: S * w, width of both representations.
        subspaces: S, into which they are split; must divide ``width``.
        temperature: See ``contrast``.
        keys: Columns of ids, of which equal ones are no negatives; none for all other rows of a batch.
        enable_amp: Compute PLM and projections in bf16.

    Attributes:
        metrics: Running loss, and accuracy of both directions.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        input_size: int,
        plm: PromptedEncoder,
        text: TokenTable | StateTable,
        pooling: SummaryPooling | AveragePooling,
        width: int,
        subspaces: int,
        temperature: float,
        keys: Sequence[str],
        enable_amp: bool,
    ) -> None:
        super().__init__(enable_amp=enable_amp)
        self.backbone, self.plm, self.text, self.pooling = backbone, plm, text, pooling
        self.tabular, self.textual = nn.Linear(input_size, width), nn.Linear(plm.hidden_size, width)
        self.subspaces, self.temperature, self.keys = subspaces, temperature, tuple(keys)
        self.metrics: Mapping[str, RunningMean] = {"contrast": RunningMean()}

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the language model."""
        return list(self.plm.parameters())

    def micro_batches(self, interaction: Interaction, size: int) -> Sequence[Tensor]:
        """Row numbers of parts with texts of similar length."""
        return self.text.lengths(interaction).argsort(stable=True).split(size)

    def represent(self, interaction: Interaction) -> Tensor:
        """Representations of ids and of text, side by side, ``(n, 2 S w)`` float32."""
        q, _ = self.backbone(interaction)
        text, lengths = self.text(interaction)
        pooled = self.pooling(self.plm, text, lengths, None)
        with torch.autocast(pooled.device.type, enabled=False):
            return torch.cat([self.tabular(q.float()), self.textual(pooled.float())], dim=1)

    def batch_loss(self, interaction: Interaction, representations: Tensor) -> Tensor:
        """See ``contrast``; also added to ``metrics``."""
        tabular, textual = representations.unflatten(1, (2, self.subspaces, -1)).unbind(1)
        keys = torch.stack([interaction[key] for key in self.keys], dim=1) if self.keys else None
        with torch.autocast(tabular.device.type, enabled=False):
            loss, correct = contrast(tabular, textual, temperature=self.temperature, keys=keys)
        self.metrics["contrast"].add(loss, correct)
        return loss


def build_contrast(config: Settings, dataset: TextSource) -> Contrast:
    """The model of the stage, with a random backbone and the PLM's own weights.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Raises:
        SettingError: As for ``build_encoder``.
        WeightsError: The PLM cannot be obtained.
    """
    backbone = build_backbone(config, dataset)
    plm, _ = build_encoder(config)
    return Contrast(
        backbone=backbone,
        input_size=backbone.width(dataset[torch.arange(min(2, len(dataset)))]),
        plm=plm,
        text=build_text_table(config, dataset, plm),
        pooling=build_pooling(config["contrast_pooling"]),
        width=config["contrast_width"],
        subspaces=config["contrast_subspaces"],
        temperature=config["contrast_temperature"],
        keys=[dataset.uid_field, dataset.iid_field] if config["mask_equal"] else [],
        enable_amp=config["enable_amp"],
    )


@torch.no_grad()
def evaluate_contrast(config: Settings, model: nn.Module, data: AbstractDataLoader) -> dict[str, float]:
    """Evaluates the contrast within batches of ``pretrain_batch_size`` rows, in the order of the data; see
    ``whole_batch_size``.

    Args:
        config: Settings of the run.
        model: A ``Contrast`` on the run's device.
        data: Loader of the rows.

    Returns:
        ``contrast_loss`` (nats; it grows with the size of a batch) and ``contrast_accuracy``.
    """
    assert isinstance(model, Contrast)
    device, dataset = config["device"], data._dataset
    size = whole_batch_size(len(dataset), config["pretrain_batch_size"])
    model.eval()
    compute_and_reset(model.metrics, device)  # discards the sums of training
    for start in range(0, len(dataset), size):
        rows = data.transform(dataset, dataset[start : start + size]).to(device)
        representations = model.representations(rows, model.micro_batches(rows, config["micro_batch_size"]))
        model.batch_loss(rows, representations)
    return compute_and_reset(model.metrics, device)

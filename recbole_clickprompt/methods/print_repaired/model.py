"""PRINTRepaired's model: a CTR model that also reads the target pair of texts, and an incentive by relevance.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.history import History
from recbole_clickprompt.backbones.vector_fields import ColumnVectors
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.print_repaired.pair_states import PairEncoder, PairStates
from recbole_clickprompt.methods.print_repaired.relevance import (
    Incentive,
    RelevanceIncentive,
    balance,
    read_history,
)
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.weights import find_plm, weights_hash
from recbole_clickprompt.settings.history_fields import HistoryFields
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.texts_by_level import texts_by_level
from recbole_clickprompt.trainer.sampling import sample, sample_negatives

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["PRINTRepaired"]

_RELEVANCE = "relevance:pair"  # column that this model adds to batches; no field's name can hold a colon


class PRINTRepaired(LabeledRowsModel):
    """``sigmoid(backbone(fields, history, r) + incentive(r, p))``::

        target pair of texts  -> frozen PLM -> r (B, W), s (B, W) --+-- r as a further field -> backbone -> logit
        pairs of the clicks   -> frozen PLM -> r_l, s_l (B, T, W) --+-- p (B, W) -> incentive -> logit
        p = mean of r_l by cos(s, s_l)  *  mean of r_l by cos(e, e_l), e the item's embeddings in the backbone

    r is the summary state of a pair, s the mean state of the tokens of its user's text. The PLM is frozen, and
    vectors of pairs are computed once; see ``PairStates``.

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Raises:
        SettingError: The backbone takes no vectors as fields.
        WeightsError: The PLM cannot be obtained.
    """

    no_export = "it looks up vectors of pairs outside of its graph"

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config)
        self.keys = {"user": config["USER_ID_FIELD"], "item": config["ITEM_ID_FIELD"]}
        self.plm, _ = build_encoder(config)
        self.plm.requires_grad_(False)
        width = self.plm.hidden_size
        column = ColumnVectors(_RELEVANCE, count=1, width=width, embedding_size=config["embedding_size"])
        self.backbone = build_backbone(config, dataset, [column])
        self.history = History(config, dataset, self.backbone.model)
        self.fields = HistoryFields.from_config(config)
        self.incentive = RelevanceIncentive(width)
        self._dataset, self._config = dataset, config

    @functools.cached_property
    def pairs(self) -> PairStates:
        """Vectors of pairs, which are computed when they are first looked up.

        Raises:
            SettingError: As for ``texts_by_level``.
        """
        config, dataset = self._config, self._dataset
        table = dataset.token_table(config["plm"])
        encoder = PairEncoder(
            self.plm,
            texts_by_level(table, self.keys),
            prefix=len(table.prefix),
            suffix=len(table.suffix),
            enable_amp=config["enable_amp"],
        )
        pairs = None
        if hasattr(dataset, "inter_feat"):  # in serving there are no rows
            rows = sample_negatives(config, sample(config, dataset, "train_rows")).inter_feat
            pairs = rows[self.keys["user"]], rows[self.keys["item"]]
        return PairStates(
            encoder,
            items=dataset.num(self.keys["item"]),
            pairs=pairs,
            folder=Path(config["checkpoint_dir"]),
            weights=lambda: weights_hash(find_plm(config["plm"], seed=config["seed"])),
            show_progress=config["show_progress"],
        )

    def logits(self, interaction: Interaction) -> tuple[Tensor, Incentive]:
        """Logits of the backbone, ``(B,)`` float32, and the incentive."""
        users, target = (interaction[key] for key in self.keys.values())
        clicked = interaction[self.fields.items]  # (B, T)
        items = torch.cat([target.unsqueeze(1), clicked], dim=1)
        used = self.history.masks(interaction)[0]  # clicks with label 1
        needed = torch.cat([torch.ones_like(used[:, :1]), used], dim=1)
        summaries, means = self._pairs_of(users, items, needed)
        relevance = summaries[:, 0].contiguous()
        ctr = self.backbone.logit(type(interaction)({**interaction.interaction, _RELEVANCE: relevance}))
        with torch.autocast(ctr.device.type, enabled=False):
            by_text = F.cosine_similarity(means[:, :1], means[:, 1:], dim=2)
            target_embedding, click_embeddings = self._embeddings(interaction, target)
            by_item = F.cosine_similarity(target_embedding.unsqueeze(1), click_embeddings, dim=2)
            clicks = summaries[:, 1:]
            preference = read_history(by_text, clicks, used) * read_history(by_item, clicks, used)
            return ctr, self.incentive(relevance, preference)

    def _pairs_of(self, users: Tensor, items: Tensor, needed: Tensor) -> tuple[Tensor, Tensor]:
        """Both vectors of pairs of a row's user and its items, ``(B, 1 + T)``, where needed: ``(B, 1 + T, W)``."""
        rows = needed.nonzero()[:, 0]
        found = self.pairs(users[rows], items[needed])
        shape = (*needed.shape, found[0].shape[1])
        summaries, means = (vectors.new_zeros(shape) for vectors in found)
        summaries[needed], means[needed] = found
        return summaries, means

    def _embeddings(self, interaction: Interaction, target: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of target items, ``(B, I * d)``, and of clicks, ``(B, T, I * d)``, I fields of an item."""
        model = self.backbone.model
        alone = Interaction({self.fields.items: target.unsqueeze(1)})
        return self.history(model, alone).of_slots()[:, 0], self.history(model, interaction).of_slots()

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the PLM, which are frozen."""
        return list(self.plm.parameters())

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        ctr, incentive = self.logits(interaction)
        return ctr + incentive.logit

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean binary cross entropy plus ``balance`` of the types of incentives, a scalar."""
        ctr, incentive = self.logits(interaction)
        loss = self.cross_entropy(ctr + incentive.logit, interaction[self.label_field])
        return loss + balance(incentive.types)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_ctr`` and ``logit_relevance``, each ``(B,)``."""
        ctr, incentive = self.logits(interaction)
        return {"logit_ctr": ctr, "logit_relevance": incentive.logit}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(logits["logit_ctr"] + logits["logit_relevance"])

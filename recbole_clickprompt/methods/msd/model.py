"""The CTR model of MSD: a backbone that also reads vectors of the texts of user, target item and near clicks.

Letters: B rows, T slots of a history, E vectors of a row, A = d width of a vector and of an id embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.vector_fields import ReadyVectors
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.msd.builders import build_near_items, build_text_tables
from recbole_clickprompt.methods.msd.fusion import latest_occurrences
from recbole_clickprompt.methods.msd.masking import mask_rates, masked_clicks
from recbole_clickprompt.methods.text_vectors.level import Rows
from recbole_clickprompt.settings.history_fields import HistoryFields
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.user_profiles import NUMBER, PROFILE
from recbole_clickprompt.trainer.text_vectors import vector_column

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["MSD"]

# Columns that this model adds to batches; no field's name can hold a colon
_VECTORS, _MASKED, _LEARNED = "vectors:text", "masked:history", "learned:item"
_FEW_ROWS = 8  # are scored without computing the vectors of all texts


class MSD(LabeledRowsModel):
    """``sigmoid(backbone(fields, [user, target, near clicks]))``, the last three vectors of texts (Eq. 3-9)::

        texts ──> student ──> (U, W) ──adaptors──> (U, A) ──by id──┬── user    (B, A) ───────────────┐
                  LoRA                                             ├── target  (B, A) ──┬────────────┤
                                                                   └── history (B, T, A)┴── near ────┤ (B, E, d)
        ids ──────────────────────────────────────> embeddings (B, F, d) ───────────────────────────┴──> backbone

    In training, the student reads the texts that ``train_texts`` names, each distinct text of a part of a batch
    once; other vectors come from a table that is refreshed at the start of each epoch, or every ``refresh_steps``
    steps. Before evaluation, the vectors of all items and users are computed from the current weights. They are
    saved with the model, which then costs as much as one without texts.

    Args:
        config: Settings of the run.
        dataset: The training rows; or in serving their schema, without texts.

    Attributes:
        backbone: The CTR model.
        texts: Vectors of texts, and the student that makes them.
        vector_widths: A of each level of texts, ``item`` and ``user``.
        answered_levels: ``item`` if its texts have the teacher's phrases.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self._user_field, self._item_field = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self._history, self._has_labels = HistoryFields.from_config(config), config["history"] == "all"
        self._train_texts, self._train_user_texts = config["train_texts"], config["train_user_texts"]
        self._texts_per_step = config["texts_per_step"] if self._train_texts == "targets" else None
        self._refresh_steps, self._standardize = config["refresh_steps"], config["standardize_vectors"]
        self._mask, self._mask_rate = config["mask_items"], config["mask_rate"]
        self._seed, self._unique_history = config["seed"], config["unique_history"]
        self._fuse_target = config["fuse_target"]
        self.texts = build_text_tables(config, dataset)
        self.near = build_near_items(config)
        self.vector_widths = dict.fromkeys(self.texts.named_levels(), config["embedding_size"])
        self.answered_levels = frozenset({"item"} if config["read_answers"] else ())
        count = ("user" in self.vector_widths) + self._fuse_target + (self.near is not None)
        self.backbone = build_backbone(config, dataset, [ReadyVectors(_VECTORS, count=count)])
        self.mask_rates: Tensor
        self.register_buffer("mask_rates", torch.zeros(dataset.num(self._item_field)))
        self._position = (0, 0)  # epoch, and batch in it
        self._reads_texts = False  # in evaluation, instead of the tables

    # Training

    def table_rows(self) -> dict[str, None]:
        """Rates of masking follow from the present rows; see ``HasTableRows``."""
        return {"mask_rates": None}

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the student, which are trained at ``plm_learning_rate``."""
        return list(self.texts.student.parameters())

    def begin(self, dataset: Dataset) -> None:
        """Sets what follows from the rows that are trained on: rates of masking, and the scale of vectors.

        Args:
            dataset: These rows.
        """
        if self.near is not None:
            counts = dataset.history_log.slot_counts(dataset.inter_feat, len(self.mask_rates))
            self.mask_rates.copy_(mask_rates(counts, mode=self._mask, rate=self._mask_rate))
        self.texts.refresh()
        if self._standardize:
            columns = {"item": self._item_field, "user": NUMBER}
            self.texts.standardize({name: dataset.inter_feat[columns[name]] for name in self.vector_widths})

    def begin_batch(self, epoch: int, batch: int) -> None:
        """Refreshes the table of vectors when it is due; see ``trainer.protocols.FollowsTraining``."""
        self._position = (epoch, batch)
        if batch % self._refresh_steps == 0 if self._refresh_steps else batch == 0:
            self.texts.refresh()

    def before_saving(self) -> None:
        """Computes the adapted vectors that are saved, unless they are those of the weights."""
        self.texts.update()

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """Splits a batch into parts of ``size`` rows with few distinct texts; without texts to train on, into one.

        Masks of clicks, and the texts to learn from, are drawn for the whole batch from the seed, the epoch and
        the number of the batch, so that they depend neither on parts nor on processes.
        """
        entropy = np.random.SeedSequence((self._seed, *self._position)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(entropy[0]) >> 1)
        if self.near is not None and bool((self.mask_rates > 0).any()):
            items, used = interaction[self._history.items], self._used(interaction)
            interaction.update(Interaction({_MASKED: masked_clicks(items, used, self.mask_rates, generator)}))
        if self._texts_per_step and self.texts.student.is_trained():
            distinct, places = interaction[self._item_field].unique(return_inverse=True)
            chosen = torch.zeros(len(distinct), dtype=torch.bool, device=places.device)
            chosen[torch.randperm(len(distinct), generator=generator)[: self._texts_per_step]] = True
            interaction.update(Interaction({_LEARNED: chosen[places]}))
        if not self.texts.student.is_trained() or len(interaction) <= size:
            return [(interaction, 1.0)]
        order = interaction[self._item_field].argsort(stable=True)  # equal items in one part: read once
        return [self.select(interaction, rows) for rows in order.split(size)]

    # Vectors of a batch

    def _used(self, interaction: Interaction) -> Tensor:
        """Slots of the history that hold a click with label 1, ``(B, T)``."""
        items = interaction[self._history.items]
        used = torch.arange(items.shape[1], device=items.device) < interaction[self._history.length].unsqueeze(1)
        return used & (interaction[self._history.labels] > 0) if self._has_labels else used

    def _clicks(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Item ids of the history, and the slots that count, each ``(B, T)``."""
        items, seen = interaction[self._history.items], self._used(interaction)
        if self.training and _MASKED in interaction.interaction:
            seen = seen & ~interaction[_MASKED]
        return items, latest_occurrences(items, seen) if self._unique_history else seen

    def _rows(self, name: str, ids: Tensor, *, trained: bool) -> Rows:
        """Adapted vectors of a level's ids of any shape; ``trained``: in training with the student's gradient."""
        if self.training:
            return self.texts.training_rows(name, ids, trained=trained)
        return self.texts.computed(name, ids) if self._reads_texts else self.texts.stored(name, ids)

    def _single(self, interaction: Interaction, name: str) -> Tensor:
        """The vector of each row's user or target item, ``(B, A)``; serving may have put it into a column."""
        columns, column = interaction.interaction, vector_column(name)
        if column in columns:
            return columns[column]
        if name == "item":
            return self._targets(columns[self._item_field], columns.get(_LEARNED))
        # The first profiles are the users after the last training row, by their ids
        profiles = columns[PROFILE] if PROFILE in columns else columns[self._user_field]
        return self._rows(name, profiles, trained=self._train_user_texts).read()

    def _targets(self, ids: Tensor, learned: Tensor | None) -> Tensor:
        """Vectors of target items, ``(B, A)``; ``learned``: rows whose texts the student learns from, or None."""
        if not self.training or learned is None:
            return self._rows("item", ids, trained=self._train_texts != "none").read()
        vectors = self._rows("item", ids, trained=False).read()
        if not bool(learned.any()):
            return vectors
        return vectors.index_put((learned,), self._rows("item", ids[learned], trained=True).read())

    def _target_and_clicks(self, interaction: Interaction, items: Tensor) -> tuple[Tensor, Rows]:
        """Vectors of the target items, ``(B, A)``, and of the items in the slots of histories, ``(B, T)``."""
        if not (self.training and self._train_texts == "all"):
            return self._single(interaction, "item"), self._rows("item", items, trained=False)
        ids = torch.cat([interaction[self._item_field].unsqueeze(1), items], dim=1)
        both = self._rows("item", ids, trained=True)  # each text is read once
        return Rows(both.vectors, both.places[:, 0]).read(), Rows(both.vectors, both.places[:, 1:])

    def vectors(self, interaction: Interaction) -> Tensor:
        """The vectors that become fields: of the user, the target item and its near items, ``(B, E, d)``."""
        if self.training:
            self.texts.before_step()
        found = [self._single(interaction, "user")] if "user" in self.vector_widths else []
        if self.near is None:
            found += [self._single(interaction, "item")] if self._fuse_target else []
            return torch.stack(found, dim=1)
        items, seen = self._clicks(interaction)
        target, clicks = self._target_and_clicks(interaction, items)
        found += [target] if self._fuse_target else []
        return torch.stack([*found, self.near(target, clicks.vectors, clicks.places, seen)], dim=1)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        vectors = self.vectors(interaction)
        return self.backbone.logit(type(interaction)({**interaction.interaction, _VECTORS: vectors}))

    # Evaluation and serving

    def blocks(self, interaction: Interaction, at_least: int) -> tuple[Tensor, ...]:
        """As for ``LabeledRowsModel``; first brings the tables of vectors up to date, on all processes alike."""
        if not self.training:
            self.texts.update()
        return super().blocks(interaction, at_least)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit``, ``(B,)``: from the tables of vectors, which a few rows alone do not bring up to date."""
        self._reads_texts = not self.training and len(interaction) <= _FEW_ROWS and not self.texts.is_current
        try:
            if not (self.training or self._reads_texts):
                self.texts.update()
            return {"logit": self(interaction)}
        finally:
            self._reads_texts = False

    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """Vectors of new texts; see ``trainer.text_vectors.EncodesTexts``."""
        return self.texts.of_texts(level, texts)

    def vectors_hash(self) -> str:
        """A hash of the weights that vectors depend on; see ``trainer.text_vectors.EncodesTexts``."""
        return self.texts.hash()

"""The CTR model of MSD: a backbone that also reads vectors of the texts of user, target item and near clicks.

Letters: B rows, T slots of a history, E vectors of a row, A = d width of a vector and of an id embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.vector_fields import ReadyVectors
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.msd.builders import build_levels, build_student
from recbole_clickprompt.methods.msd.fusion import NearItems, latest_occurrences
from recbole_clickprompt.methods.msd.level import Level, Rows
from recbole_clickprompt.methods.msd.masking import mask_rates, masked_clicks
from recbole_clickprompt.methods.msd.student_vectors import StudentVectors
from recbole_clickprompt.settings.history_fields import HistoryFields
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.user_profiles import NUMBER, PROFILE
from recbole_clickprompt.trainer.protocols import vector_column

__all__ = ["MSD"]

# Columns that this model adds to batches; no field's name can hold a colon
_VECTORS, _MASKED = "vectors:text", "masked:history"
_FEW_ROWS = 8  # are scored without a table of all vectors


class MSD(LabeledRowsModel):
    """``sigmoid(backbone(fields, [user, target, near clicks]))``, the last three vectors of texts (Eq. 3-9)::

        texts ──> student ──> (U, W) ──adaptors──> (U, A) ──by id──┬── user    (B, A) ──────────────┐
                  LoRA                                             ├── target  (B, A) ──┬───────────┤
                                                                   └── history (B, T, A) ┴── near ──┤ (B, E, d)
        ids ──────────────────────────────────────> embeddings (B, F, d) ──────────────────────────┴──> backbone

    In training, the student reads the texts that ``train_texts`` names, each distinct text of a part of a batch
    once; other vectors come from a table that is refreshed at the start of each epoch, or every ``refresh_steps``
    steps. Before evaluation, the vectors of all items and users are computed from the current weights. They are
    saved with the model, which then costs as much as one without texts.

    Args:
        config: Settings of the run.
        dataset: The training rows; or in serving their schema, without texts.

    Attributes:
        backbone: The CTR model.
        student: Reads texts.
        vector_widths: A of each level of texts, ``item`` and ``user``.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self._user_field, self._item_field = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self._history, self._has_labels = HistoryFields.from_config(config), config["history"] == "all"
        self._train_texts = config["train_texts"]
        self._train_user_texts, self._refresh_steps = config["train_user_texts"], config["refresh_steps"]
        self._seed, self._unique_history = config["seed"], config["unique_history"]
        self._mask, self._mask_rate = config["mask_items"], config["mask_rate"]
        self._standardize = config["standardize_vectors"]
        student, tokenize = build_student(config)
        self.levels = build_levels(config, dataset, tokenize, width=student.width)
        self.student = StudentVectors(
            student,
            tokenize,
            folder=Path(config["checkpoint_dir"]),
            random=config["vectors"] == "random",
            enable_amp=config["enable_amp"],
            show_progress=config["show_progress"],
        )
        width = config["embedding_size"]
        self.vector_widths = dict.fromkeys(self.levels, width)
        self.near: NearItems | None = None
        if config["fusion"] != "none":
            self.near = NearItems(
                width,
                count=config["near_items"],
                fusion=config["fusion"],
                temperature=config["fusion_temperature"],
            )
        self._fuse_target = config["fuse_target"]
        count = ("user" in self.levels) + self._fuse_target + (self.near is not None)
        self.backbone = build_backbone(config, dataset, [ReadyVectors(_VECTORS, count=count)])
        self.mask_rates: Tensor
        self.register_buffer("mask_rates", torch.zeros(dataset.num(self._item_field)))
        self.tables_are_current: Tensor  # whether the adapted vectors are those of the weights
        self.register_buffer("tables_are_current", torch.zeros((), dtype=torch.bool))
        self._vectors_are_current = self._reads_texts = False
        self._position = (0, 0)  # epoch, and batch in it
        self.register_load_state_dict_post_hook(lambda module, _: module._forget())

    # Training

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the student, which are trained at ``plm_learning_rate``."""
        return list(self.student.parameters())

    def begin(self, dataset: TextSource) -> None:
        """Sets what follows from the rows that are trained on: rates of masking, and the scale of vectors.

        Args:
            dataset: These rows.
        """
        if self.near is not None:
            counts = dataset.history_log.slot_counts(dataset.inter_feat, len(self.mask_rates))
            self.mask_rates.copy_(mask_rates(counts, mode=self._mask, rate=self._mask_rate))
        self._refresh()
        if self._standardize:
            for name, level in self.levels.items():
                ids = dataset.inter_feat[self._item_field if name == "item" else NUMBER].unique().long()
                texts = level.index[ids.to(level.index.device)].unique()
                level.adaptor.standardize(level.vectors.rows[texts])

    def begin_batch(self, epoch: int, batch: int) -> None:
        """Refreshes the table of vectors when it is due; see ``trainer.protocols.FollowsTraining``."""
        self._position = (epoch, batch)
        due = batch % self._refresh_steps == 0 if self._refresh_steps else batch == 0
        if due:
            self._refresh()

    def before_saving(self) -> None:
        """Computes the adapted vectors that are saved, unless they are those of the weights."""
        self._update_tables()

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """Splits a batch into parts of ``size`` rows with few distinct texts; without texts to train on, into one.

        Masks of clicks are drawn for the whole batch from the seed, the epoch and the number of the batch, so that
        they depend neither on parts nor on processes.
        """
        if self.near is not None and bool((self.mask_rates > 0).any()):
            entropy = np.random.SeedSequence((self._seed, *self._position)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(entropy[0]) >> 1)
            items, used = interaction[self._history.items], self._used(interaction)
            interaction.update(Interaction({_MASKED: masked_clicks(items, used, self.mask_rates, generator)}))
        if not self.student.is_trained() or len(interaction) <= size:
            return [(interaction, 1.0)]
        order = interaction[self._item_field].argsort(stable=True)  # equal items in one part: read once
        return [self.select(interaction, rows) for rows in order.split(size)]

    def _refresh(self) -> None:
        """Computes the vectors of all texts from the current weights."""
        if not self._vectors_are_current:
            for level in self.levels.values():
                self.student.refresh(level)
            self._vectors_are_current = True

    def _update_tables(self) -> None:
        if not self.tables_are_current:
            self._refresh()
            for level in self.levels.values():
                level.adapt()
            self.tables_are_current.fill_(True)

    def _forget(self) -> None:
        """Loaded weights have other vectors; whether loaded tables are current was loaded too."""
        self._vectors_are_current = False

    def _changes(self) -> None:
        """A step of training follows: afterwards stored vectors are those of earlier weights."""
        self.tables_are_current.fill_(False)
        if not len(next(iter(self.levels.values())).vectors.rows):
            self._refresh()
        if self.student.is_trained():
            self._vectors_are_current = False

    # Vectors of a batch

    def _ids(self, interaction: Interaction) -> dict[str, Tensor]:
        """The ids by which each level's vectors are found, ``(B,)``: items, and profiles of users."""
        columns = interaction.interaction
        user = columns[PROFILE] if PROFILE in columns else columns[self._user_field]
        return {name: columns[self._item_field] if name == "item" else user for name in self.levels}

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
        """Adapted vectors of a level's ids of any shape; ``trained``: with gradients into the student."""
        level = self.levels[name]
        assert isinstance(level, Level)
        if not self.training and not self._reads_texts:
            if not len(level.adapted.rows):
                raise WeightsError(f"the model has no vectors of {name}s: it was saved before they were computed")
            return level.stored(ids)
        if self._reads_texts or (trained and self.student.is_trained()):
            return self.student.encoded(level, ids)
        return level.from_vectors(ids)

    def vectors(self, interaction: Interaction) -> Tensor:
        """The vectors that become fields: of the user, the target item and its near items, ``(B, E, d)``."""
        if self.training:
            self._changes()
        columns, ids, found = interaction.interaction, self._ids(interaction), []
        if "user" in self.levels:
            found.append(self._of_column(columns, "user", ids["user"], trained=self._train_user_texts))
        if self.near is None:
            targets = [self._target(columns, ids["item"])] if self._fuse_target else []
            return torch.stack([*found, *targets], dim=1)
        items, seen = self._clicks(interaction)
        if self.training and self._train_texts == "all":  # one pass over the texts of targets and clicks
            both = self._rows("item", torch.cat([ids["item"].unsqueeze(1), items], dim=1), trained=True)
            target, clicks = Rows(both.vectors, both.places[:, 0]).read(), Rows(both.vectors, both.places[:, 1:])
        else:
            target, clicks = self._target(columns, ids["item"]), self._rows("item", items, trained=False)
        if self._fuse_target:
            found.append(target)
        found.append(self.near(target, clicks.vectors, clicks.places, seen))
        return torch.stack(found, dim=1)

    def _target(self, columns: Mapping[str, Tensor], ids: Tensor) -> Tensor:
        """Vectors of the target items, ``(B, A)``."""
        return self._of_column(columns, "item", ids, trained=self._train_texts != "none")

    def _of_column(self, columns: Mapping[str, Tensor], name: str, ids: Tensor, *, trained: bool) -> Tensor:
        """One vector per row, ``(B, A)``, from the batch where serving has put it."""
        column = vector_column(name)
        return columns[column] if column in columns else self._rows(name, ids, trained=trained).read()

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        vectors = self.vectors(interaction)
        return self.backbone.logit(type(interaction)({**interaction.interaction, _VECTORS: vectors}))

    # Evaluation and serving

    def blocks(self, interaction: Interaction, at_least: int) -> tuple[Tensor, ...]:
        """As for ``LabeledRowsModel``; brings the tables of vectors up to date first, on all processes alike."""
        self._prepare(len(interaction))
        return super().blocks(interaction, at_least)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit``, ``(B,)``."""
        self._prepare(len(interaction))
        try:
            return super().predict_logits(interaction)
        finally:
            self._reads_texts = False

    def _prepare(self, rows: int) -> None:
        """Vectors from the current weights: for a few rows of their texts alone, else of all texts."""
        if self.training or self.tables_are_current:
            return
        if rows <= _FEW_ROWS:
            self._reads_texts = True
        else:
            self._update_tables()

    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """Vectors of new texts; see ``trainer.protocols.EncodesTexts``."""
        module = self.levels[level]
        assert isinstance(module, Level)
        with torch.no_grad():
            return module.adaptor(self.student.of_texts(level, texts))

    def vectors_hash(self) -> str:
        """A hash of the weights that vectors depend on; see ``trainer.protocols.EncodesTexts``."""
        return self.student.hash_with([level.adaptor for level in self.levels.values()])

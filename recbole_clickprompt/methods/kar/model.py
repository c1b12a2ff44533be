"""The CTR model of KAR: a backbone that also reads adapted vectors of knowledge about user and item.

Letters: B rows, U distinct texts, W width of the encoder's states, E vectors of a row, A = d width of a vector and
of an id embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.vector_fields import ReadyVectors
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.kar.experts import build_experts
from recbole_clickprompt.methods.text_vectors.frozen_encoder import FrozenEncoder, build_frozen_encoder
from recbole_clickprompt.methods.text_vectors.level import Level
from recbole_clickprompt.methods.text_vectors.tables import TextTables
from recbole_clickprompt.methods.text_vectors.texts import ListedTexts, encoded_texts, levels_with_answers
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.user_profiles import NUMBER, PROFILE
from recbole_clickprompt.trainer.text_vectors import vector_column

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["KAR"]

_VECTORS = "vectors:knowledge"  # column that this model adds to batches; no field's name can hold a colon


class KnowledgeTables(TextTables):
    """The levels of texts and the frozen encoder that reads them.

    Args:
        encoder: Reads texts.
        levels: By name.
    """

    def __init__(self, encoder: FrozenEncoder, levels: Mapping[str, Level]) -> None:
        super().__init__(levels)
        self.encoder = encoder

    @property
    def reader(self) -> FrozenEncoder:
        """The frozen encoder."""
        return self.encoder


class KAR(LabeledRowsModel):
    """``sigmoid(backbone(fields, [user, item]))``, the last two vectors adapted from frozen vectors of knowledge::

        texts ──> frozen encoder ──> (U, W) ──hybrid experts──> (U, A) ──by id──> (B, E, d) ──┐
                  once, in a file             trained                                         ├──> backbone
        ids ──────────────────────> embeddings (B, F, d) ─────────────────────────────────────┘

    The adapted vectors of all users and items are saved with the model: serving known ones costs two look-ups.

    Args:
        config: Settings of the run.
        dataset: The training rows; or in serving their schema, without texts.

    Attributes:
        backbone: The CTR model.
        texts: Vectors of texts, and their experts.
        vector_widths: A of each level of texts, ``item`` and, with profiles of users, ``user``.
        answered_levels: ``item`` if its texts have the teacher's answers.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self._keys = {"item": config["ITEM_ID_FIELD"]}
        if config["user_knowledge"] != "none":
            self._keys["user"] = config["USER_ID_FIELD"]
        encoder, width = build_frozen_encoder(config), config["embedding_size"]
        experts = build_experts(
            list(self._keys),
            shared=config["shared_experts"],
            specific=config["level_experts"],
            width=encoder.width,
            hidden=config["adaptor_size"],
            out=width,
        )
        has_texts = hasattr(dataset, "textualizer")
        levels = {
            name: Level(
                name,
                ListedTexts(encoded_texts(config, dataset, name)) if has_texts else None,
                ids=dataset.num(key),
                adaptor=experts[name],
                out=width,
                saves_vectors=False,
            )
            for name, key in self._keys.items()
        }
        self.texts = KnowledgeTables(encoder, levels)
        self.vector_widths = dict.fromkeys(levels, width)
        self.answered_levels = levels_with_answers(config)
        self.backbone = build_backbone(config, dataset, [ReadyVectors(_VECTORS, count=len(levels))])

    def begin(self, dataset: Dataset) -> None:
        """Encodes all texts; the scale of vectors is that of the texts of the rows that are trained on.

        Args:
            dataset: These rows.
        """
        self.texts.refresh()
        columns = {**self._keys, "user": NUMBER}
        self.texts.standardize({name: dataset.inter_feat[columns[name]] for name in self.vector_widths})

    def begin_batch(self, epoch: int, batch: int) -> None:
        """Nothing: frozen vectors do not follow training; see ``trainer.protocols.FollowsTraining``."""

    def before_saving(self) -> None:
        """Computes the adapted vectors that are saved, unless they are those of the weights."""
        self.texts.update()

    def _vector(self, name: str, interaction: Interaction) -> Tensor:
        """The vector of each row's user or item, ``(B, A)``; serving may have put it into a column."""
        columns, column = interaction.interaction, vector_column(name)
        if column in columns:
            return columns[column]
        # The first profiles are the users after the last training row, by their ids
        ids = columns[PROFILE if name == "user" and PROFILE in columns else self._keys[name]]
        if self.training:
            return self.texts.named_levels()[name].from_vectors(ids).read()
        return self.texts.stored(name, ids).read()

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        if self.training:
            self.texts.before_step()
        vectors = torch.stack([self._vector(name, interaction) for name in self.vector_widths], dim=1)
        return self.backbone.logit(type(interaction)({**interaction.interaction, _VECTORS: vectors}))

    def blocks(self, interaction: Interaction, at_least: int) -> tuple[Tensor, ...]:
        """As for ``LabeledRowsModel``; first brings the tables of vectors up to date, on all processes alike."""
        if not self.training:
            self.texts.update()
        return super().blocks(interaction, at_least)

    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """Vectors of new texts, which have no answer; see ``trainer.text_vectors.EncodesTexts``."""
        return self.texts.of_texts(level, texts)

    def vectors_hash(self) -> str:
        """A hash of all that vectors depend on; see ``trainer.text_vectors.EncodesTexts``."""
        return self.texts.hash()

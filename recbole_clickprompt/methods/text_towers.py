"""Base class of models that read users and items separately and score from vectors that they have stored.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.stage import autocast
from recbole_clickprompt.trainer.text_vectors import vector_column

__all__ = ["LevelTexts", "TextTowers"]


class LevelTexts(Protocol):
    """The texts of all users or of all items."""

    @property
    def lengths(self) -> Tensor:
        """Length of each text, ``(ids,)``, on the CPU."""


class TextTowers(LabeledRowsModel):
    """One tower reads the text of the user, the other one that of the item; each makes a vector.

    In training, the texts of the distinct users and items of a part of a batch are encoded. In evaluation without
    gradients, vectors are looked up in two tables, which are computed from the current weights before the first
    row is scored, and are part of the checkpoint::

        training      ids -> distinct ids -> texts (U, ...) -> tower -> vectors (U, A) -> rows (B, A)
        evaluation    ids -> table (ids, A) -> rows (B, A)
        serving       rows with new users or items have columns of vectors, from ``encode_texts``

    A subclass sets ``towers`` and ``texts``, calls ``register_tables``, and implements ``_encode_ids``.

    Args:
        config: Settings of the run.

    Attributes:
        keys: The column of ids of each level, ``user`` and ``item``.
        towers: What encodes the texts of each level.
        texts: The texts of each level; not needed to score known ids.
        vector_widths: A of each level; see ``trainer.text_vectors.EncodesTexts``.
    """

    towers: nn.ModuleDict
    vector_widths: Mapping[str, int]

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.keys = {"user": config["USER_ID_FIELD"], "item": config["ITEM_ID_FIELD"]}
        self._enable_amp = config["enable_amp"]
        # Whether the tables are those of the current weights; None if they were neither computed nor loaded
        self._tables_fit: bool | None = None
        self.register_load_state_dict_post_hook(lambda model, _: setattr(model, "_tables_fit", True))
        self.register_state_dict_pre_hook(lambda model, *_: model._update_trained_tables())

    def register_tables(self, dataset: TextSource, width: int) -> None:
        """Adds the tables of vectors of ``width``, empty."""
        self.vector_widths = dict.fromkeys(self.keys, width)
        for level, key in self.keys.items():
            self.register_buffer(f"{level}_vectors", torch.zeros(dataset.num(key), width))

    def table_rows(self) -> dict[str, None]:
        """Vectors are computed again; see ``HasTableRows``."""
        return {f"{level}_vectors": None for level in self.keys}

    @property
    def texts(self) -> Mapping[str, LevelTexts]:
        raise NotImplementedError

    @property
    def _device(self) -> torch.device:
        return self.get_buffer("user_vectors").device

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """As in ``LabeledRowsModel``, by the length of the item's text; rows of one item are neighbors."""
        ids, lengths = interaction[self.keys["item"]].cpu(), self.texts["item"].lengths
        order = (lengths[ids] * len(lengths) + ids).argsort(stable=True)
        return [self.select(interaction, rows) for rows in order.split(size)]

    def _vectors(self, level: str, interaction: Interaction) -> Tensor:
        """The vector of each row's user or item, ``(B, A)``."""
        if self.training:
            self._tables_fit = False
        if (column := vector_column(level)) in interaction.interaction:
            return interaction[column]
        ids = interaction[self.keys[level]]
        if not (self.training or torch.is_grad_enabled()):
            if not self._tables_fit:
                self.update_tables()
            return self.get_buffer(f"{level}_vectors")[ids]
        distinct, places = ids.unique(return_inverse=True)
        return self._encode_ids(level, distinct.cpu())[places]

    def _encode_ids(self, level: str, ids: Tensor) -> Tensor:
        """Vectors of known texts, ``(U, A)`` float32, of distinct ids, ``(U,)`` on the CPU."""
        raise NotImplementedError

    @torch.no_grad()
    def update_tables(self) -> None:
        """Computes the vectors of all users and items from the current weights, without dropout."""
        self.towers.eval()
        for level, texts in self.texts.items():
            table = self.get_buffer(f"{level}_vectors")
            for ids in texts.lengths.argsort(stable=True).split(self.micro_batch_size):
                with autocast(self._device, self._enable_amp):
                    table[ids.to(table.device)] = self._encode_ids(level, ids)
        self.towers.train(self.training)
        self._tables_fit = True

    def _update_trained_tables(self) -> None:
        """Called before weights are saved, so that a checkpoint never has the tables of earlier weights."""
        if self._tables_fit is False:
            self.update_tables()

    def _hash_with(self, settings: str) -> str:
        """SHA-256 of the towers' weights and of what else vectors depend on."""
        digest = hashlib.sha256(settings.encode())
        for name, weight in self.towers.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

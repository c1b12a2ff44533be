"""CTR-BERT's model: two language models, whose vectors of users and items are stored after training.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.ctrbert.texts import NewTexts, texts_by_level
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_tokenizer, longest_text
from recbole_clickprompt.plm.pooling import build_pooling
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.entity_texts import EntityTexts
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.protocols import LEVELS, vector_column
from recbole_clickprompt.trainer.stage import autocast

__all__ = ["CTRBERT"]

_HEAD_WIDTH = 128


class CTRBERT(LabeledRowsModel):
    """``sigmoid(Linear(128, 1)(dropout(tanh(Linear(2 W, 128)([user vector; item vector])))))``.

    Each vector is the pooled state of one language model that reads nothing but the text of the user, or of the
    item; the two do not share weights. With ``tabular``, the backbone's representation q is a third part of the
    head's input.

    In training, the texts of the distinct users and items of a part of a batch are encoded. In evaluation without
    gradients, vectors are looked up in two tables, which are computed from the current weights before the first
    row is scored, and are part of the checkpoint::

        training      ids -> distinct ids -> tokens (U, Z) -> PLM -> vectors (U, W) -> rows (B, W) -+
        evaluation    ids -> table (ids, W) -> rows (B, W) -----------------------------------------+-> head
        serving       rows with new users or items have columns of vectors, from ``encode_texts`` --+

    Args:
        config: Settings of the run.
        dataset: Data set whose text is read.

    Attributes:
        vector_widths: W of each level, ``user`` and ``item``; see ``trainer.protocols.EncodesTexts``.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self.keys = {"user": config["USER_ID_FIELD"], "item": config["ITEM_ID_FIELD"]}
        encoders = {level: build_encoder(config)[0] for level in LEVELS}
        self.towers = nn.ModuleDict(encoders)
        self.pooling = build_pooling(config["plm_pooling"])
        width = encoders["item"].hidden_size
        self.vector_widths: Mapping[str, int] = dict.fromkeys(LEVELS, width)
        inputs = 2 * width
        if config["tabular"]:
            self.backbone = build_backbone(config, dataset)
            inputs += self.backbone.width(dataset[torch.arange(min(2, len(dataset)))])
        self.head = nn.Sequential(
            nn.Linear(inputs, _HEAD_WIDTH),
            nn.Tanh(),
            nn.Dropout(config["head_dropout"]),
            nn.Linear(_HEAD_WIDTH, 1),
        )
        for level, key in self.keys.items():
            self.register_buffer(f"{level}_vectors", torch.zeros(dataset.num(key), width))
        # Whether the tables are those of the current weights; None if they were neither computed nor loaded
        self._tables_fit: bool | None = None
        self.register_load_state_dict_post_hook(lambda model, _: setattr(model, "_tables_fit", True))
        self.register_state_dict_pre_hook(lambda model, *_: model._update_trained_tables())
        self._enable_amp, self._longest = config["enable_amp"], config["max_text_length"]
        self._find_plm = functools.partial(find_plm, config["plm"], seed=config["seed"])
        self._token_table = functools.partial(dataset.token_table, config["plm"])
        user = (FeatureSource.USER_ID, FeatureSource.USER)
        first = next(iter(config["text_fields"]))
        self._leading = "user" if dataset.field2source[first] in user else "item"

    @functools.cached_property
    def texts(self) -> dict[str, EntityTexts]:
        """Texts of all users and items by level, on the CPU; not needed to score known ones.

        Raises:
            SettingError: As for ``texts_by_level``.
        """
        return texts_by_level(self._token_table(), self.keys)

    @property
    def _device(self) -> torch.device:
        return self.get_buffer("user_vectors").device

    @functools.cached_property
    def _new_texts(self) -> NewTexts:
        folder = self._find_plm()
        return NewTexts(load_tokenizer(folder), self._longest or longest_text(folder))

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the two language models, which are trained at ``plm_learning_rate``."""
        return list(self.towers.parameters())

    def split(self, interaction: Interaction, size: int) -> list[tuple[Interaction, float]]:
        """As in ``LabeledRowsModel``, by the length of the item's text; rows of one item are neighbors."""
        ids, lengths = interaction[self.keys["item"]].cpu(), self.texts["item"].lengths
        order = (lengths[ids] * len(lengths) + ids).argsort(stable=True)
        return [self.select(interaction, rows) for rows in order.split(size)]

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        if self.training:
            self._tables_fit = False
        parts = [self._vectors(level, interaction) for level in LEVELS]
        if hasattr(self, "backbone"):
            parts.append(self.backbone(interaction)[0])
        with torch.autocast(parts[0].device.type, enabled=False):
            return self.head(torch.cat([part.float() for part in parts], dim=1)).squeeze(1)

    def _vectors(self, level: str, interaction: Interaction) -> Tensor:
        """The vector of each row's user or item, ``(B, W)``."""
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
        """Vectors of known texts, ``(U, W)`` float32, of distinct ids, ``(U,)`` on the CPU."""
        texts = self.texts[level]
        return self._encode(level, texts.padded(texts.tokens, ids, self._token_table().pad_id), texts.lengths[ids])

    def _encode(self, level: str, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Vectors of texts, ``(U, W)`` float32; a text without any token has the vector 0.

        Args:
            level: ``user`` or ``item``.
            tokens: ``(U, Z)``.
            lengths: ``(U,)``.
        """
        tower, device = self.towers[level], self._device
        assert isinstance(tower, PromptedEncoder)
        read = lengths.nonzero().squeeze(1)
        vectors = torch.zeros(len(lengths), self.vector_widths[level], device=device)
        if not len(read):
            return vectors
        pooled = self.pooling(tower, tokens[read].to(device), lengths[read].to(device), None).float()
        return pooled if len(read) == len(lengths) else vectors.index_copy(0, read.to(device), pooled)

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

    @torch.no_grad()
    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """The vectors of texts, ``(len(texts), W)``; see ``trainer.protocols.EncodesTexts``."""
        tokens, lengths = self._new_texts(texts, leading=level == self._leading)
        with autocast(self._device, self._enable_amp):
            return self._encode(level, tokens, lengths)

    def vectors_hash(self) -> str:
        """SHA-256 of everything that ``encode_texts`` depends on."""
        digest = hashlib.sha256(f"{self._longest} {type(self.pooling)} {vars(self.pooling)}".encode())
        for name, weight in self.towers.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

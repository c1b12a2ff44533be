"""CTR-BERT's model: two language models, whose vectors of users and items are stored after training.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.text_towers import TextTowers
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_tokenizer, longest_text
from recbole_clickprompt.plm.pooling import build_pooling
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.entity_texts import EntityTexts
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.texts_by_level import NewTexts, texts_by_level
from recbole_clickprompt.trainer.stage import autocast
from recbole_clickprompt.trainer.text_vectors import LEVELS

__all__ = ["CTRBERT"]

_HEAD_WIDTH = 128


class CTRBERT(TextTowers):
    """``sigmoid(Linear(128, 1)(dropout(tanh(Linear(2 W, 128)([user vector; item vector])))))``.

    Each vector is the pooled state of one language model that reads nothing but the text of the user, or of the
    item; the two do not share weights. With ``tabular``, the backbone's representation q is a third part of the
    head's input.

    Vectors are stored after training; see ``TextTowers``.

    Args:
        config: Settings of the run.
        dataset: Data set whose text is read.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        encoders = {level: build_encoder(config)[0] for level in LEVELS}
        self.towers = nn.ModuleDict(encoders)
        self.pooling = build_pooling(config["plm_pooling"])
        width = encoders["item"].hidden_size
        self.register_tables(dataset, width)
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
        self._longest = config["max_text_length"]
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

    @functools.cached_property
    def _new_texts(self) -> NewTexts:
        folder = self._find_plm()
        return NewTexts(load_tokenizer(folder), self._longest or longest_text(folder))

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the two language models, which are trained at ``plm_learning_rate``."""
        return list(self.towers.parameters())

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        parts = [self._vectors(level, interaction) for level in LEVELS]
        if hasattr(self, "backbone"):
            parts.append(self.backbone(interaction)[0])
        with torch.autocast(parts[0].device.type, enabled=False):
            return self.head(torch.cat([part.float() for part in parts], dim=1)).squeeze(1)

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
    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """The vectors of texts, ``(len(texts), W)``; see ``trainer.text_vectors.EncodesTexts``."""
        tokens, lengths = self._new_texts(texts, leading=level == self._leading)
        with autocast(self._device, self._enable_amp):
            return self._encode(level, tokens, lengths)

    def vectors_hash(self) -> str:
        """SHA-256 of everything that ``encode_texts`` depends on."""
        return self._hash_with(f"{self._longest} {type(self.pooling)} {vars(self.pooling)}")

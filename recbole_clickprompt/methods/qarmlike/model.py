"""A CTR model with semantic ids of items: codes by residual k-means of frozen vectors of their texts.

Letters: B rows, T slots of a history, R levels, K codes per level, W width of the encoder's states, d width of an
embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.vector_fields import ReadyVectors
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.qarmlike.residual_kmeans import assign_codes, fit_codebooks
from recbole_clickprompt.methods.text_vectors.frozen_encoder import build_frozen_encoder
from recbole_clickprompt.methods.text_vectors.texts import levels_with_answers
from recbole_clickprompt.settings.history_fields import HistoryFields
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.trainer.text_vectors import vector_column

__all__ = ["QARMLike"]

_VECTORS = "vectors:codes"  # column that this model adds to batches; no field's name can hold a colon


class QARMLike(LabeledRowsModel):
    """``sigmoid(backbone(fields, codes of the target, codes of the history))``::

        texts ──> frozen encoder ──> (ids, W) ──residual k-means──> codes (ids, R) ──by id──┬── target (B, R)
                  once, in a file                once                                       └── history (B, T, R)
                                                                                                   │
                 R code tables, trained, (K + 1, d) ──> (B, R or 2 R, d), mean over the history <──┘
                                                            │
        ids ──> embeddings (B, F, d) ──> backbone <─────────┘

    The K-th row of a table, which is 0 and not trained, stands for items without a text. A new item has the codes
    of its text at once, also in serving: in place of a vector, ``encode_texts`` returns R codes.

    Args:
        config: Settings of the run.
        dataset: The training rows; or in serving their schema.

    Attributes:
        backbone: The CTR model.
        vector_widths: R, of items.
        answered_levels: ``item`` if its texts have the teacher's answers.
    """

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self._item_field, self._history = config["ITEM_ID_FIELD"], HistoryFields.from_config(config)
        self._reads_history = config["history_length"] is not None
        self._has_labels = self._reads_history and config["history"] == "all"
        self.encoder = build_frozen_encoder(config)
        items, levels = dataset.num(self._item_field), config["code_levels"]
        size = config["codebook_size"] or min(1024, max(2, items // 8))
        self.codes: Tensor
        self.codebooks: Tensor
        self.register_buffer("codes", torch.full((items, levels), size))
        self.register_buffer("codebooks", torch.zeros(levels, size, self.encoder.width))
        self.vector_widths = {"item": levels}
        self.answered_levels = levels_with_answers(config)
        self._fitted: Tensor | None = None  # centroids of an earlier run, which a warm start keeps
        width = config["embedding_size"]
        self.tables = nn.ModuleList(_code_table(size, width) for _ in range(levels))
        count = levels * (2 if self._reads_history else 1)
        self.backbone = build_backbone(config, dataset, [ReadyVectors(_VECTORS, count=count)])

    def table_rows(self) -> dict[str, Sequence[str | int] | None]:
        """Codes are assigned again, and embeddings are those of codes; see ``HasTableRows``."""
        rows = self.codebooks.shape[1] + 1
        return {"codes": None, **{f"tables.{level}.weight": (rows,) for level in range(len(self.tables))}}

    def before_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Keeps the centroids, so that codes mean what they meant; see ``TakesWarmStart``."""
        self._fitted = saved.get("codebooks")

    def after_warm_start(self, saved: Mapping[str, Tensor]) -> None:
        """Nothing more."""

    def fit_codes(self, texts: Sequence[str], items: Tensor, *, seed: int) -> None:
        """Fits the centroids, unless a warm start keeps earlier ones, and gives every item its codes.

        Args:
            texts: Of all items by id; empty ones have no codes.
            items: Ids on whose texts the centroids are fitted: those of the training rows.
            seed: Of the initial centroids.

        Raises:
            SettingError: As for ``fit_codebooks``.
        """
        vectors = self.encoder.kept(texts)
        fitted = vectors[items.cpu()]
        levels, size, _ = self.codebooks.shape
        if self._fitted is not None and self._fitted.shape == self.codebooks.shape:
            self.codebooks.copy_(self._fitted)
        else:
            self.codebooks.copy_(fit_codebooks(fitted[fitted.any(dim=1)], levels=levels, size=size, seed=seed))
        distributed.current().broadcast([self.codebooks])  # threads add up in another order
        self.codes.copy_(assign_codes(vectors, self.codebooks))

    def _embedded(self, codes: Tensor) -> Tensor:
        """Embeddings of codes, ``(..., R)`` to ``(..., R, d)``."""
        return torch.stack([table(codes[..., level]) for level, table in enumerate(self.tables)], dim=-2)

    def _pooled_history(self, interaction: Interaction) -> Tensor:
        """The mean over clicks with label 1, ``(B, R, d)``; 0 where a row has none."""
        items = interaction[self._history.items]
        clicks = torch.arange(items.shape[1], device=items.device) < interaction[self._history.length].unsqueeze(1)
        if self._has_labels:
            clicks = clicks & (interaction[self._history.labels] > 0)
        embedded = self._embedded(self.codes[items])  # (B, T, R, d)
        shares = clicks.to(embedded.dtype) / clicks.sum(1, keepdim=True).clamp(min=1)
        return torch.einsum("bt,btrd->brd", shares, embedded)

    def vectors(self, interaction: Interaction) -> Tensor:
        """The embeddings that become fields: of the target's codes and of the history's, ``(B, R or 2 R, d)``."""
        columns, column = interaction.interaction, vector_column("item")
        codes = columns[column].long() if column in columns else self.codes[columns[self._item_field]]
        fields = [self._embedded(codes)]
        if self._reads_history:
            with torch.autocast(codes.device.type, enabled=False):
                fields.append(self._pooled_history(interaction))
        return torch.cat(fields, dim=1)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        vectors = self.vectors(interaction)
        return self.backbone.logit(type(interaction)({**interaction.interaction, _VECTORS: vectors}))

    def encode_texts(self, level: str, texts: Sequence[str]) -> Tensor:
        """Codes of new texts as numbers, ``(N, R)`` float32; see ``trainer.text_vectors.EncodesTexts``."""
        return assign_codes(self.encoder.of_texts(level, texts), self.codebooks).float()

    def vectors_hash(self) -> str:
        """A hash of all that codes depend on; see ``trainer.text_vectors.EncodesTexts``."""
        digest = hashlib.sha256(self.encoder.digest.encode())
        digest.update(self.codebooks.cpu().numpy().tobytes())
        return digest.hexdigest()


def _code_table(size: int, width: int) -> nn.Embedding:
    """Embeddings of K codes, and of no text, which is 0 and not trained, ``(K + 1, d)``."""
    table = nn.Embedding(size + 1, width, padding_idx=size)
    nn.init.xavier_normal_(table.weight)
    with torch.no_grad():
        table.weight[size] = 0
    return table

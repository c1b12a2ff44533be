"""Declarations of the settings of semantic ids."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.methods.settings import KNOWLEDGE, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.shared import SHARED
from recbole_clickprompt.settings.types import integer, optional

__all__ = ["SETTINGS"]

_CODES = {
    "code_levels": Setting(integer(1), 3, "Levels of residual k-means, each of which is a code.", "finetune"),
    "codebook_size": Setting(
        optional(integer(2)),
        None,
        "Codes per level. None: an eighth of the number of items, at least 2 and at most 1,024.",
        "finetune",
    ),
}

SETTINGS = grouped(
    {
        "Text": {
            "max_text_length": replace(
                SHARED["max_text_length"],
                meaning="Maximum number of tokens of a text of an item. None: the PLM's maximum.",
            )
        },
        "Training": training(
            epochs=10,
            train_batch_size=1024,
            learning_rate=1e-3,
            weight_decay=0.1,
            warmup_ratio=0.0,
            lr_scheduler="constant",
            stopping_step=2,
        ),
        "Knowledge": {
            **KNOWLEDGE,
            "knowledge_vectors": replace(KNOWLEDGE["knowledge_vectors"], default="texts"),
        },
        "Semantic ids": _CODES,
    }
)

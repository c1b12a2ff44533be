"""Declarations of PRINTRepaired's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.backbones.settings import SETTINGS as BACKBONE_SETTINGS
from recbole_clickprompt.methods.settings import PLM, training
from recbole_clickprompt.settings.declaration import grouped
from recbole_clickprompt.settings.shared import SHARED

__all__ = ["SETTINGS"]

_BACKBONE = {"backbone": "DIN", "attention_softmax": True}

SETTINGS = grouped(
    {
        "Backbone": {
            name: replace(BACKBONE_SETTINGS[name], default=default) for name, default in _BACKBONE.items()
        },
        "History": {"history_length": replace(SHARED["history_length"], default=20)},
        "Text": {
            "max_text_length": replace(
                SHARED["max_text_length"],
                default=64,
                meaning="Maximum number of tokens of a pair of texts, of which user and item have half each.",
            )
        },
        "Training": training(
            epochs=5,
            train_batch_size=1024,
            learning_rate=1e-3,
            plm_learning_rate=0.0,  # the PLM is frozen
            weight_decay=0.1,
            warmup_ratio=0.0,
            lr_scheduler="constant",
            stopping_step=2,
        ),
        "PLM": {"plm_num_layers": PLM["plm_num_layers"]},
    }
)

"""Declarations of CTR-BERT's settings."""

from __future__ import annotations

from recbole_clickprompt.methods.settings import PLM, POOLING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import BOOLEAN, DROPOUT

__all__ = ["SETTINGS"]

_TOWERS = {
    "tabular": Setting(
        BOOLEAN, False, "Append the backbone's representation q to the vectors of user and item.", "finetune"
    ),
    "head_dropout": Setting(DROPOUT, 0.1, "Dropout before the last layer.", "finetune"),
}

SETTINGS = grouped(
    {
        "Training": training(
            epochs=10,
            train_batch_size=1024,
            learning_rate=1e-3,
            plm_learning_rate=5e-5,  # the published grid: 1e-5, 3e-5, 5e-5
            weight_decay=0.0,
            warmup_ratio=0.05,
            lr_scheduler="linear",
            stopping_step=2,
        ),
        "PLM": {**PLM, **POOLING},
        "Fusion": _TOWERS,
    }
)

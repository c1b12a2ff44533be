"""Declarations of PTab's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.methods.settings import PLM, POOLING, PRETRAINING, training
from recbole_clickprompt.settings.declaration import grouped

__all__ = ["SETTINGS"]

SETTINGS = grouped(
    {
        "Training": training(
            epochs=10,
            train_batch_size=1024,
            learning_rate=1e-3,
            plm_learning_rate=5e-5,
            weight_decay=0.0,
            warmup_ratio=0.01,
            lr_scheduler="linear",
            stopping_step=2,
        ),
        "PLM": {**PLM, **POOLING},
        "Pretraining": {**PRETRAINING, "pretrain_epochs": replace(PRETRAINING["pretrain_epochs"], default=10)},
    }
)

"""Declarations of P5's settings."""

from __future__ import annotations

from recbole_clickprompt.methods.settings import PLM, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import BOOLEAN

__all__ = ["SETTINGS"]

_WHOLE_WORDS = {
    "p5_ids": Setting(
        BOOLEAN,
        True,
        "Add an embedding of the number of the word that a token is part of (P5's whole-word ids).",
        "finetune",
    ),
}

SETTINGS = grouped(
    {
        "Text": training(plm="t5-small"),
        "Training": training(
            epochs=10,
            train_batch_size=32,
            learning_rate=1e-3,
            plm_learning_rate=1e-3,
            weight_decay=0.01,
            warmup_ratio=0.05,
            lr_scheduler="linear",
            stopping_step=2,
            clip_grad_norm={"max_norm": 1.0},
        ),
        "PLM": {"plm_dropout": PLM["plm_dropout"], **_WHOLE_WORDS},
    }
)

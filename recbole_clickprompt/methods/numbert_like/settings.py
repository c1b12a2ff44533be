"""Declarations of NumBERTLike's settings."""

from __future__ import annotations

from recbole_clickprompt.methods.settings import PLM, POOLING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import integer

__all__ = ["SETTINGS"]

_VALUES = {
    "number_buckets": Setting(
        integer(2),
        16,
        "Tokens of a number field: its values are cut at quantiles of the training rows.",
        "finetune",
    ),
}

SETTINGS = grouped(
    {
        "Training": training(
            epochs=4,
            train_batch_size=256,
            learning_rate=1e-3,
            plm_learning_rate=5e-5,
            weight_decay=0.01,
            warmup_ratio=0.05,
            lr_scheduler="linear",
            stopping_step=2,
        ),
        # Without plm_lora: the whole PLM is trained
        "PLM": {**{name: setting for name, setting in PLM.items() if name != "plm_lora"}, **POOLING},
        "Text": _VALUES,
    }
)

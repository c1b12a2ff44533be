"""Declarations of BERT4CTRLike's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.backbones.settings import SETTINGS as BACKBONE_SETTINGS
from recbole_clickprompt.methods.settings import INTERACTION_LAYERS, PLM, PRETRAINING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import integer

__all__ = ["SETTINGS"]

_FROZEN_PLM = {
    "pretrain_epochs": 1,
    "pretrain_batch_size": 256,
    "pretrain_learning_rate": 1e-3,
    "pretrain_weight_decay": 0.1,
    "pretrain_warmup_ratio": 0.05,
    "pretrain_lr_scheduler": "cosine",
    "pretrain_rows": None,
}
_META = {
    "meta_tokens": Setting(
        integer(1), 8, "Vectors that the features of a row become and that read its text.", "pretrain"
    ),
}

SETTINGS = grouped(
    {
        "Training": training(
            epochs=4,
            train_batch_size=256,
            learning_rate=1e-3,
            plm_learning_rate=3e-5,
            weight_decay=0.1,
            warmup_ratio=0.05,
            lr_scheduler="cosine",
            stopping_step=2,
        ),
        "Backbone": {"backbone": replace(BACKBONE_SETTINGS["backbone"], default="DNN")},
        "PLM": {**PLM, **INTERACTION_LAYERS},
        "Prompts": _META,
        "Pretraining": {name: replace(PRETRAINING[name], default=value) for name, value in _FROZEN_PLM.items()},
    }
)

"""Declarations of CTRL's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.backbones.settings import SETTINGS as BACKBONE_SETTINGS
from recbole_clickprompt.methods.settings import PLM, POOLING, PRETRAINING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import BOOLEAN, POSITIVE, integer

__all__ = ["CONTRAST", "SETTINGS"]

_PRETRAINING = {
    # The public descriptions raise the learning rate from 1e-5 to 5e-4
    "pretrain_epochs": 20,
    "pretrain_batch_size": 6400,
    "pretrain_learning_rate": 5e-4,
    "pretrain_plm_learning_rate": 5e-5,
    "pretrain_weight_decay": 0.0,
    "pretrain_warmup_ratio": 0.05,
    "pretrain_lr_scheduler": "linear",
    "pretrain_rows": None,
}
CONTRAST = {
    "contrast_temperature": Setting(POSITIVE, 0.7, "Similarities are divided by it.", "pretrain"),
    "contrast_width": Setting(integer(1), 128, "Width of the representations of ids and of text.", "pretrain"),
    "contrast_subspaces": Setting(
        integer(1),
        4,
        "Sub-spaces into which both representations are split, for max-sim; must divide contrast_width. 1: the "
        "plain inner product.",
        "pretrain",
    ),
    "contrast_pooling": replace(POOLING["plm_pooling"], stage="pretrain"),
    "mask_equal": Setting(
        BOOLEAN, False, "Rows of a batch with the same user or the same item are no negatives.", "pretrain"
    ),
}

SETTINGS = grouped(
    {
        "Training": training(
            epochs=10,
            train_batch_size=2048,
            learning_rate=1e-3,
            plm_learning_rate=0.0,  # no effect: only the contrast has a PLM
            weight_decay=0.0,
            warmup_ratio=0.0,
            lr_scheduler="constant",
            stopping_step=2,
            load_pretrained="all",
        ),
        "Backbone": {"backbone": replace(BACKBONE_SETTINGS["backbone"], default="AutoInt")},
        "PLM": PLM,
        "Pretraining": {
            **{name: replace(PRETRAINING[name], default=default) for name, default in _PRETRAINING.items()},
            **CONTRAST,
        },
    }
)

"""Declarations of FLIP's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.methods.clickprompt.settings import FUSION_WEIGHT
from recbole_clickprompt.methods.ctrl.settings import CONTRAST
from recbole_clickprompt.methods.settings import PLM, POOLING, PRETRAINING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import DROPOUT, choice, real

__all__ = ["FUSION_START", "SETTINGS"]

FUSION_START = 0.0  # as published

_PRETRAINING = {
    "pretrain_epochs": 30,
    "pretrain_batch_size": 1024,
    "pretrain_learning_rate": 1e-4,
    "pretrain_plm_learning_rate": 1e-4,
    "pretrain_weight_decay": 1e-3,
    "pretrain_warmup_ratio": 0.05,
    "pretrain_lr_scheduler": "cosine",
    "mask_target": "fields",
}
_LOSSES = {
    "contrast_weight": Setting(
        real(),
        1.0,
        "Weight of the contrast of the ids and the texts of a batch's rows. 0: without it.",
        "pretrain",
    ),
    "masked_field_weight": Setting(
        real(),
        1.0,
        "Weight of masked field modeling, which recovers ids from text; the share of a row's fields to mask is "
        "mask_ratio, at least one field. 0: without it.",
        "pretrain",
    ),
    "mlm_weight": Setting(
        real(),
        1.0,
        "Weight of masked language modeling, which recovers text from the rest of it and from ids. 0: without it.",
        "pretrain",
    ),
    "pretrain_head_dropout": Setting(DROPOUT, 0.2, "Dropout in the heads of the losses.", "pretrain"),
}
_FORM = {
    "finetune_towers": Setting(
        choice("both", "ids", "text"),
        "both",
        "both: backbone and PLM, with a learned weight. ids: the backbone alone, which reads no text. text: the "
        "PLM alone.",
        "finetune",
    ),
    "fusion_weight": replace(FUSION_WEIGHT, default=FUSION_START),
}

SETTINGS = grouped(
    {
        "Training": training(
            epochs=10,
            train_batch_size=1024,
            learning_rate=1e-3,
            plm_learning_rate=5e-5,
            weight_decay=1e-3,
            warmup_ratio=0.05,
            lr_scheduler="cosine",
            stopping_step=3,
            load_pretrained="all",
        ),
        "PLM": {**PLM, **POOLING},
        "Fusion": _FORM,
        "Pretraining": {
            **PRETRAINING,
            **{name: replace(PRETRAINING[name], default=default) for name, default in _PRETRAINING.items()},
            **{name: CONTRAST[name] for name in ("contrast_temperature", "contrast_width", "mask_equal")},
            **_LOSSES,
        },
    }
)

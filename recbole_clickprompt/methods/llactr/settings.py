"""Declarations of LLaCTR's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.methods.settings import PLM, PRETRAINING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import integer, real

__all__ = ["SETTINGS"]

_PRETRAINING = {
    "pretrain_epochs": replace(
        PRETRAINING["pretrain_epochs"],
        default=3,
        meaning="Passes over the values in self-training. 0: the language model is used as it is.",
    ),
    "pretrain_batch_size": replace(PRETRAINING["pretrain_batch_size"], default=128),
    "pretrain_plm_learning_rate": replace(PRETRAINING["pretrain_plm_learning_rate"], default=1e-4),
    "pretrain_weight_decay": PRETRAINING["pretrain_weight_decay"],
    "pretrain_warmup_ratio": PRETRAINING["pretrain_warmup_ratio"],
    "pretrain_lr_scheduler": replace(PRETRAINING["pretrain_lr_scheduler"], default="linear"),
}
_FIELDS = {
    "field_values": Setting(
        integer(1), 1000, "Most values of a field in self-training, drawn by the seed.", "pretrain"
    ),
    "field_interaction_weight": Setting(
        real(),
        0.1,
        "Weight of the products of fields' embeddings in the logit, each scaled by the similarity of the fields' "
        "names. 0: they are left out.",
        "finetune",
    ),
    "field_alignment_weight": Setting(
        real(),
        0.01,
        "Weight of the divergence of embeddings from the vectors of their fields' names in the loss. 0: it is "
        "left out.",
        "finetune",
    ),
}

SETTINGS = grouped(
    {
        "Training": training(
            epochs=50,
            train_batch_size=4096,
            learning_rate=1e-3,
            weight_decay=0.1,
            warmup_ratio=0.0,
            lr_scheduler="constant",
            stopping_step=2,
        ),
        "PLM": {
            "plm_lora": replace(
                PLM["plm_lora"],
                default={"r": 8, "alpha": 16, "dropout": 0.05},
                meaning="Self-training by LoRA: r, alpha, dropout, target_modules. None: all of its weights.",
            )
        },
        "Pretraining": _PRETRAINING,
        "Field names": _FIELDS,
    }
)

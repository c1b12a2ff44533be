"""Declarations of CharMatchLike's settings."""

from __future__ import annotations

from recbole_clickprompt.methods.settings import training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import DROPOUT, integer

__all__ = ["SETTINGS"]

_CHARACTERS = {
    "max_characters": Setting(
        integer(1, 4096),
        256,
        "Characters that are read of the text of a user and of an item; the rest is cut.",
        "finetune",
    ),
}
_NETWORK = {
    "char_channels": Setting(integer(1), 64, "Channels of the convolution over characters.", "finetune"),
    "head_dropout": Setting(DROPOUT, 0.1, "Dropout before the last layer.", "finetune"),
}

SETTINGS = grouped(
    {
        "Training": training(
            epochs=10,
            train_batch_size=256,
            micro_batch_size=256,
            learning_rate=1e-3,
            plm_learning_rate=0.0,  # no effect: there is no PLM
            weight_decay=0.01,
            warmup_ratio=0.0,
            lr_scheduler="constant",
            stopping_step=2,
        ),
        "Text": _CHARACTERS,
        "Fusion": _NETWORK,
    }
)

"""Declarations of KAR's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.methods.settings import KNOWLEDGE, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.shared import SHARED
from recbole_clickprompt.settings.types import integer

__all__ = ["SETTINGS"]

_EXPERTS = {
    "shared_experts": Setting(integer(0), 2, "Experts that items and users share.", "finetune"),
    "level_experts": Setting(integer(0), 5, "Experts of items alone, and as many of users alone.", "finetune"),
    "adaptor_size": Setting(integer(1), 128, "Width of the hidden layer of an expert.", "finetune"),
}

SETTINGS = grouped(
    {
        "User profiles": training(user_knowledge="blocks", profile_length=10),
        "Text": {
            "max_text_length": replace(
                SHARED["max_text_length"],
                meaning="Maximum number of tokens of a text of an item or a user. None: the PLM's maximum.",
            )
        },
        "Training": training(
            epochs=20,
            train_batch_size=1024,
            learning_rate=1e-3,
            weight_decay=0.1,
            warmup_ratio=0.0,
            lr_scheduler="cosine",
            stopping_step=2,
        ),
        "Knowledge": KNOWLEDGE,
        "Experts": _EXPERTS,
    }
)

"""Declarations of ClickPrompt's settings, with and without PLM at finetuning."""

from __future__ import annotations

from recbole_clickprompt.methods.settings import INTERACTION_LAYERS, PLM, POOLING, PRETRAINING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import (
    BOOLEAN,
    FRACTION,
    POSITIVE,
    choice,
    integer,
    subset_of,
)

__all__ = ["FUSION_WEIGHT", "WITHOUT_PLM", "WITH_PLM"]

_PROMPTS = {
    "num_prompts": Setting(integer(1), 5, "Prompts per layer, K.", "text"),
    "prompt_strategy": Setting(
        choice("layerwise", "input"),
        "layerwise",
        "layerwise: into every layer. input: before the first one.",
        "text",
    ),
    "prompt_projection": Setting(
        choice("per_prompt", "shared_kv"),
        "per_prompt",
        "per_prompt: one MLP per prompt. shared_kv: one MLP for the keys and values of all.",
        "text",
    ),
}
FUSION_WEIGHT = Setting(FRACTION, 0.5, "Initial weight of the backbone's logit, a.", "finetune")
_FUSION = {
    "fusion_weight": FUSION_WEIGHT,
    "fusion_learnable": Setting(BOOLEAN, True, "Train the fusion weight.", "finetune"),
    "tower_loss_weight": Setting(
        FRACTION,
        0.0,
        "w in loss = (1 - w) * BCE(fused) + w * mean(BCE(backbone), BCE(PLM)). The paper: 0. "
        "With 1, a stays as it is.",
        "finetune",
    ),
    "finetune_prompts": Setting(
        BOOLEAN, True, 'False: finetune two towers without prompts ("w/o Prompt").', "finetune"
    ),
    "prompt_dropout": Setting(
        FRACTION,
        0.0,
        "The share of rows whose prompts are hidden from the PLM in a training step, so that it learns to read "
        "without them too. Inference uses all prompts.",
        "finetune",
    ),
}
_OBJECTIVES = {
    "pretrain_objectives": Setting(
        subset_of("mlm", "replaced_item"),
        ["mlm"],
        "mlm: PA-MLM. replaced_item: the backbone learns to distinguish real rows from rows whose item was "
        "swapped in from another row; alone it needs no PLM.",
        "pretrain",
    ),
}
_EXPERIMENTAL = {
    "plm_cached_masks": Setting(
        integer(1), 8, "With plm_interaction_layers: masked versions of each text for pretraining.", "text"
    ),
    "replaced_item_weight": Setting(
        POSITIVE, 10.0, "Weight of the loss of replaced_item next to that of mlm, whose gradients are larger.",
        "pretrain",
    ),
    "pretrain_data": Setting(
        choice("train", "train_valid"), "train", "train_valid: ids and texts of validation rows too.", "pretrain"
    ),
    "pretrain_shuffle_items": Setting(
        BOOLEAN, False, "A control: shuffle the items of all rows, which leaves only their popularity to learn.",
        "pretrain",
    ),
}  # fmt: skip


_BOTH = {
    "PLM": {**PLM, **INTERACTION_LAYERS},
    "Prompts": _PROMPTS,
    "Pretraining": {**_OBJECTIVES, **PRETRAINING},
    "Experimental": _EXPERIMENTAL,
}

WITH_PLM = grouped(
    {
        "Training": training(
            epochs=4,
            train_batch_size=256,
            learning_rate=1e-3,
            plm_learning_rate=5e-5,
            weight_decay=1.0,  # the best value on ml-100k
            warmup_ratio=0.05,
            lr_scheduler="cosine",
            stopping_step=2,
            load_pretrained="all",
        ),
        "Fusion": {**POOLING, **_FUSION},
        **_BOTH,
    }
)
WITHOUT_PLM = grouped(
    {
        "Training": training(
            epochs=10,
            train_batch_size=256,
            learning_rate=1e-3,
            plm_learning_rate=0.0,  # no effect: only pretraining has a PLM
            weight_decay=0.1,  # the best value on ml-100k
            warmup_ratio=0.0,
            lr_scheduler="constant",
            stopping_step=2,
            load_pretrained="embeddings",  # the paper loads all; this was better
        ),
        **_BOTH,
    }
)

"""Declarations of SuKDLike's settings."""

from __future__ import annotations

from dataclasses import replace

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.settings import PLM, PRETRAINING, training
from recbole_clickprompt.settings.declaration import Setting, grouped
from recbole_clickprompt.settings.types import integer, real

__all__ = ["SETTINGS", "check_layers"]

_TEACHER = {
    "pretrain_epochs": 2,
    "pretrain_batch_size": 256,
    "pretrain_learning_rate": 1e-3,
    "pretrain_plm_learning_rate": 5e-5,
    "pretrain_weight_decay": 0.1,
    "pretrain_warmup_ratio": 0.05,
    "pretrain_lr_scheduler": "cosine",
    "pretrain_rows": None,
}
_STUDENT = {
    "student_layers": Setting(
        integer(1), 2, "Layers of the PLM that is served, fewer than those of the teacher (plm_num_layers).",
        "finetune",
    ),
    "distill_weight": Setting(
        real(),
        1.0,
        "Weight of the squared difference between the logits of the small and the large PLM. 0: no distillation.",
        "finetune",
    ),
}  # fmt: skip

SETTINGS = grouped(
    {
        "Training": training(
            epochs=4,
            train_batch_size=256,
            learning_rate=1e-3,
            plm_learning_rate=5e-5,
            weight_decay=0.1,
            warmup_ratio=0.05,
            lr_scheduler="cosine",
            stopping_step=2,
        ),
        "PLM": PLM,
        "Distillation": _STUDENT,
        "Pretraining": {name: replace(PRETRAINING[name], default=value) for name, value in _TEACHER.items()},
    }
)


def check_layers(student: int, teacher: int) -> None:
    """Raises SettingError unless the student has fewer layers than the teacher."""
    if student >= teacher:
        advice = f"set it to {teacher - 1} or less" if teacher > 1 else "use a PLM with two layers or more"
        raise SettingError(
            f"student_layers is {student}, but the teacher has {teacher} (plm_num_layers, or all layers of plm), "
            f"and the student must have fewer; {advice}"
        )

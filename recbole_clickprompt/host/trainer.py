"""RecBole's trainer for backbones that are trained as RecBole models, by their own name."""

from __future__ import annotations

from recbole.trainer import Trainer

from recbole_clickprompt.trainer.recbole_checkpoint import PlainCheckpoints

__all__ = ["PlainTrainer"]


class PlainTrainer(PlainCheckpoints, Trainer):
    """RecBole's trainer with checkpoints of plain values and tensors.

    Since version 2.6, ``torch.load`` rejects RecBole's checkpoints by default, so RecBole's ``evaluate`` fails
    after training.
    """

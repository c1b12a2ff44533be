"""RecBole's trainer for the models that `run_recbole` takes by a backbone's name."""

from __future__ import annotations

from recbole.trainer import Trainer

from recbole_clickprompt.trainer.recbole_checkpoint import PlainCheckpoints

__all__ = ["PlainTrainer"]


class PlainTrainer(PlainCheckpoints, Trainer):
    """RecBole's own, with checkpoints that can be read back.

    Since torch 2.6 ``torch.load`` refuses the files that the host writes, so that ``evaluate`` fails after a
    finished training run.
    """

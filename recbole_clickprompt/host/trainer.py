"""RecBole's trainer for the models that `run_recbole` takes by a backbone's name."""

from __future__ import annotations

from recbole.trainer import Trainer

from recbole_clickprompt.trainer.checkpoint import save_model

__all__ = ["PlainTrainer"]


class PlainTrainer(Trainer):
    """RecBole's own, with checkpoints that RecBole can read back.

    Since torch 2.6 ``torch.load`` refuses the files that the host writes, so that ``evaluate`` fails behind a
    finished training.
    """

    _save_checkpoint = save_model

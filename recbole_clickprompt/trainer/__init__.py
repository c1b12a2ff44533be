"""Training: RecBole's trainer with parameter groups, schedules, micro-batches, stages and checkpoints."""

from recbole_clickprompt.trainer.trainer import StagedTrainer

__all__ = ["StagedTrainer"]

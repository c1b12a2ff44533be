"""Training: RecBole's trainer with parameter groups, schedules, micro-batches, stages and checkpoints."""

from recbole_clickprompt.trainer.trainer import ClickPromptTrainer

__all__ = ["ClickPromptTrainer"]

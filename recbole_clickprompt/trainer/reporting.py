"""Reports the epochs of stages before finetuning to the log, TensorBoard and Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recbole.trainer import Trainer

    from recbole_clickprompt.trainer.stages import Report

__all__ = ["stage_reporter"]


def stage_reporter(trainer: Trainer, stage: str, *, verbose: bool) -> Report:
    """A function that reports the metrics of an epoch.

    Args:
        trainer: Provides the loggers.
        stage: Name of the stage.
        verbose: Whether to write to the log.
    """

    def report(epoch: int, metrics: dict[str, float]) -> None:
        if verbose:
            values = ", ".join(f"{name.replace('_', ' ')}: {value:.4f}" for name, value in metrics.items())
            trainer.logger.info(f"epoch {epoch} {stage} [{values}]")
        for name, value in metrics.items():
            objective, _, kind = name.rpartition("_")
            trainer.tensorboard.add_scalar(f"{kind.title()}/{stage.title()}/{objective}", value, epoch)
        trainer.wandblogger.log_metrics({"epoch": epoch, **metrics}, head=stage)

    return report

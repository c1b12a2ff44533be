"""The state that RecBole's ``fit`` keeps between epochs, as part of the state of a resumable run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import WeightsError

if TYPE_CHECKING:
    from recbole.trainer import Trainer

__all__ = ["fit_state", "restore_fit_state"]


def fit_state(trainer: Trainer) -> dict[str, Any]:
    """The state that ``fit`` keeps from one epoch to the next, as plain values."""
    best = trainer.best_valid_result
    return {
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "best_valid_result": None if best is None else {name: float(value) for name, value in best.items()},
        "train_loss_dict": dict(trainer.train_loss_dict),
        "saved_model_file": Path(trainer.saved_model_file).name,
    }


def restore_fit_state(trainer: Trainer, state: dict[str, Any], *, state_file: Path, saved: bool) -> None:
    """Restores a result of ``fit_state``.

    Args:
        trainer: The trainer of the resumed run.
        state: The result of ``fit_state``.
        state_file: The file that it was read from; the best model so far is next to it.
        saved: Whether the run saves its best model.

    Raises:
        WeightsError: The file of the best model is not named as expected, or missing.
    """
    name = state["saved_model_file"]
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".pth"):
        raise WeightsError(
            f"resume: {state_file} names {name!r} as its best model, expected a .pth file next to it"
        )
    best = state_file.with_name(name)
    if saved and state["best_valid_result"] is not None and not best.is_file():
        raise WeightsError(
            f"resume: {state_file} continues from {best}, its best epoch so far, but there is no such file; "
            "restore it, or leave out --resume to start over"
        )
    trainer.saved_model_file = str(best)
    trainer.cur_step = state["cur_step"]
    trainer.best_valid_score = state["best_valid_score"]
    trainer.best_valid_result = state["best_valid_result"]
    trainer.train_loss_dict = state["train_loss_dict"]

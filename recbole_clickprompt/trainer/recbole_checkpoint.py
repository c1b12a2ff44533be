"""A mixin for RecBole's trainers that writes and reads checkpoints as plain values and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.trainer.checkpoint import load_weights, read_model, save_model

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

__all__ = ["PlainCheckpoints"]

_MOST = 10**9  # epochs or steps, far more than any training run has


class PlainCheckpoints:
    """Replaces the methods of RecBole's ``Trainer`` that pickle and unpickle files; precedes it in the bases."""

    model: Any
    optimizer: Any
    config: Any
    logger: Any
    device: Any
    saved_model_file: str
    encoding: Encoding | None = None  # of the data set, which is saved with the weights

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: str) -> None:
        save_model(self, epoch, verbose, **kwargs)

    def load_best(self, model_file: str | Path | None = None) -> None:
        """Loads the weights of a file, or of the best epoch so far, into the model.

        Raises:
            WeightsError: The file is damaged, foreign, or does not fit.
        """
        path = Path(model_file or self.saved_model_file)
        load_weights(self.model, read_model(path, device=self.device), path, fitting="this model")
        self.logger.info(f"Loading model structure and parameters from {path}")

    def evaluate(
        self,
        eval_data: AbstractDataLoader,
        load_best_model: bool = True,
        model_file: str | Path | None = None,
        show_progress: bool = False,
    ) -> Any:
        """As in RecBole; raises the errors of ``load_best``."""
        if eval_data and load_best_model:
            self.load_best(model_file)
        return super().evaluate(eval_data, False, None, show_progress)  # type: ignore[misc]

    def resume_checkpoint(self, resume_file: str | Path) -> None:
        """As in RecBole: continues with the epoch after that of a finetuned model, but with another order of rows.

        The setting ``resume``, in contrast, resumes exactly.

        Raises:
            WeightsError: The file is damaged, foreign, of another model, or does not fit.
        """
        path = Path(resume_file)
        saved = read_model(path, device=self.device)
        if saved["config"].get("model") != self.config["model"]:
            raise WeightsError(
                f"{path} is of the model {saved['config'].get('model')!r}; expected {self.config['model']}"
            )
        load_weights(self.model, saved, path, fitting="this model")
        try:
            self.optimizer.load_state_dict(saved["optimizer"])
            epoch, step, score = int(saved["epoch"]), int(saved["cur_step"]), float(saved["best_valid_score"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RuntimeError) as error:
            raise WeightsError(f"{path} does not contain the state of this optimizer: {error!r}") from error
        if not (-1 <= epoch < _MOST and 0 <= step < _MOST):
            raise WeightsError(
                f"{path}: its epoch and cur_step must be counts below {_MOST:,}; restore it from a copy"
            )
        self.saved_model_file = str(path)
        self.start_epoch, self.cur_step, self.best_valid_score = epoch + 1, step, score
        self.logger.info(f"Checkpoint loaded. Resume training from epoch {self.start_epoch}")

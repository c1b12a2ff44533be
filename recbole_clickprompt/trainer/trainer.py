"""RecBole's trainer with our two stages."""

from __future__ import annotations

import copy
import os
import uuid
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.trainer.handover import load_parts
from recbole_clickprompt.trainer.mlm_evaluation import evaluate_pamlm
from recbole_clickprompt.trainer.optimiser import build_optimizer
from recbole_clickprompt.trainer.pretraining import load_pamlm, pretrain
from recbole_clickprompt.trainer.record import RunRecord
from recbole_clickprompt.trainer.stage import Stage, autocast

__all__ = ["ClickPromptTrainer"]


class ClickPromptTrainer(Trainer):
    """PA-MLM pretraining, then finetuning by RecBole's own ``fit``.

    ``train_stage`` says what runs: ``all``; ``pretrain`` alone, whose results are the MLM loss and accuracy;
    or ``finetune`` alone, from ``pre_model_path`` or, without one, from scratch.
    """

    def __init__(self, config: Any, model: Any) -> None:
        if not config["single_spec"]:
            raise SettingError("training in several processes is not supported; run with --nproc=1")
        super().__init__(config, model)
        # RecBole's name changes every second; runs side by side must not share a file
        self.saved_model_file: str
        root, extension = os.path.splitext(self.saved_model_file)
        self.saved_model_file = f"{root}-{uuid.uuid4().hex[:8]}{extension}"
        self._stage: Stage
        self._record: RunRecord | None = None  # of a run that is kept, until it is tested
        self._pretrained: Any = None  # the model to evaluate where pretraining is all there is

    def _build_optimizer(self, **_: Any) -> torch.optim.Optimizer:
        return build_optimizer(
            self.model,
            learner=self.learner,
            learning_rate=self.learning_rate,
            plm_learning_rate=self.config["plm_learning_rate"],
            weight_decay=self.weight_decay,
        )

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, Any]:
        """Runs the stages that ``train_stage`` names; arguments and answer are RecBole's."""
        config = self.config
        start = Path(config["pre_model_path"]) if config["pre_model_path"] else None
        if config["train_stage"] != "finetune":
            start = pretrain(
                config, train_data, valid_data, show_progress=show_progress, report=self._reporter(verbose)
            )
            if config["train_stage"] == "pretrain":
                self._pretrained = load_pamlm(config, train_data._dataset, start)
                result = self.evaluate(valid_data or train_data)
                # Read as RecBole reads its metric: a bigger accuracy or a smaller loss is the better trial
                return result["mlm_accuracy" if self.valid_metric_bigger else "mlm_loss"], result
        if start is not None:
            load_parts(self.model, start, self.model.handed_over)
        self._record = RunRecord(config, self.saved_model_file, train_data, valid_data) if saved else None
        if self._record is not None:
            self._record.begin(start)
        self._stage = Stage.of(
            config,
            name="finetune",
            model=self.model,
            optimizer=self.optimizer,
            batches=len(train_data),
            epochs=self.epochs,
            schedule=config["lr_scheduler"],
            warmup_ratio=config["warmup_ratio"],
        )
        return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _reporter(self, verbose: bool) -> Any:
        def report(epoch: int, loss: float, accuracy: float) -> None:
            if verbose:
                self.logger.info(f"epoch {epoch} pretraining [MLM loss: {loss:.4f}, accuracy: {accuracy:.4f}]")
            self.tensorboard.add_scalar("Loss/Pretrain", loss, epoch)
            self.tensorboard.add_scalar("Accuracy/Pretrain", accuracy, epoch)
            self.wandblogger.log_metrics(
                {"epoch": epoch, "mlm_loss": loss, "mlm_accuracy": accuracy}, head="pretrain"
            )

        return report

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float:
        loss = self._stage.train_epoch(train_data, epoch_idx, show_progress=show_progress)
        if self._record is not None:
            self._record.epoch(epoch_idx, loss)
        return loss

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        score, result = super()._valid_epoch(valid_data, show_progress)
        if self._record is not None:
            self._record.validated(result)
        return score, result

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: Any = None,
        show_progress: bool = False,
    ) -> Any:
        """RecBole's evaluation, in bf16 where ``enable_amp`` says so; of a pretrained model, its MLM figures."""
        if self._pretrained is not None:
            return evaluate_pamlm(self.config, self._pretrained, eval_data)
        with autocast(self.device, self.enable_amp):
            result = super().evaluate(eval_data, load_best_model, model_file, show_progress)
        if self._record is not None and load_best_model and model_file is None:  # the best weights are in place
            self._record.finish(self.model, eval_data, result, self.best_valid_score, show_progress=show_progress)
        return result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Writes RecBole's checkpoint, whole or not at all, and such that ``torch.load`` reads it safely."""
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        config = copy.copy(self.config)
        config.model_class = None  # a class of ours would have to be trusted when it is read
        state = {
            "config": config,
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "state_dict": self.model.state_dict(),
            "other_parameter": self.model.other_parameter(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = f"{path}.partial"
        # RecBole's pickle protocol 4 is what the safe reader refuses; the default is what it reads
        torch.save(state, partial)
        os.replace(partial, path)
        if verbose:
            self.logger.info(f"Saving current: {path}")

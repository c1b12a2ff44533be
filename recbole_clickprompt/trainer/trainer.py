"""RecBole's trainer, with the stages of a method before finetuning."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import TrainingError, WeightsError
from recbole_clickprompt.trainer.checkpoint import check_writable
from recbole_clickprompt.trainer.data_parallel import predict
from recbole_clickprompt.trainer.fingerprint import finetuning_inputs, state_path
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.pretrained_checkpoint import read_checksum
from recbole_clickprompt.trainer.protocols import FinetuningMethod, PretrainingStage
from recbole_clickprompt.trainer.recbole_checkpoint import PlainCheckpoints
from recbole_clickprompt.trainer.resume import ResumeCheckpointer
from recbole_clickprompt.trainer.resume_file import load_resume_state
from recbole_clickprompt.trainer.run_logger import RunLogger
from recbole_clickprompt.trainer.sampling import finetuning_loader
from recbole_clickprompt.trainer.stage import TrainingStage, autocast
from recbole_clickprompt.trainer.stages import load_stage_model, run_stage, stages_of

__all__ = ["StagedTrainer"]


class StagedTrainer(PlainCheckpoints, Trainer):
    """The stages of a method, then finetuning by RecBole's own ``fit``.

    ``train_stage`` says what runs: ``all``; the stages up to a named one, whose metrics are then the result; or
    ``finetune`` alone, from ``pre_model_path`` or, without one, from scratch.

    Args:
        config: RecBole's.
        model: A ``CTRModel``.
        method: Gives the stages, and what finetuning begins with.
    """

    def __init__(self, config: Any, model: Any, method: FinetuningMethod) -> None:
        self.method = method
        check_writable(Path(config["checkpoint_dir"]))
        super().__init__(config, model)
        # RecBole's name changes every second; runs side by side must not share a file
        self.saved_model_file: str
        root, extension = os.path.splitext(self.saved_model_file)
        self.saved_model_file = distributed.current().broadcast_object(f"{root}-{uuid.uuid4().hex[:8]}{extension}")
        self._stage: TrainingStage
        self._checkpointer: ResumeCheckpointer | None = None
        self._fitting = False
        self._record: RunLogger | None = None  # of a run that is kept, until it is tested
        self._last: tuple[PretrainingStage, Any] | None = (
            None  # stage and model to evaluate where finetuning is left out
        )

    def _build_optimizer(self, **_: Any) -> torch.optim.Optimizer:
        return build_optimizer(
            self.model,
            learner=self.learner,
            learning_rate=self.learning_rate,
            plm_learning_rate=self.config["plm_learning_rate"] or 0.0,
            weight_decay=self.weight_decay,
            lazy_embedding_min_rows=self.config["lazy_embedding_min_rows"],
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
        whole, train_data = train_data, finetuning_loader(config, train_data)
        start = Path(config["pre_model_path"]) if config["pre_model_path"] else None
        stages = stages_of(config, self.method.stages)
        finetunes = config["train_stage"] in ("all", "finetune")
        allowed = (*(stage.name for stage in stages), *(["finetune"] if finetunes else []))
        kept, state, inputs = self._finetuning_state(train_data, valid_data, start, stages, allowed)
        if state is None:
            for stage in stages:
                start = run_stage(
                    stage, config, whole, valid_data, previous=start, allowed=allowed,
                    show_progress=show_progress, report=self._reporter(verbose, stage.name),
                )  # fmt: skip
            if not finetunes:
                return self._evaluate_last(stages[-1], start, whole, valid_data)
            self.method.begin_finetuning(
                config, self.model, start=start, train_data=train_data, valid_data=valid_data, all_rows=whole
            )
        self._stage = self._build_stage(batches=len(train_data))
        self._checkpointer = ResumeCheckpointer.from_config(
            config, self._stage, path=kept, inputs=inputs, capture=self._own_state
        )
        if state is not None:
            self.start_epoch = self._checkpointer.restore(state)
            self._restore_own_state(state["own"], beside=kept, saved=saved)
        self._record = (
            RunLogger(config, self.saved_model_file, train_data, valid_data, self.method) if saved else None
        )
        if self._record is not None and state is None:  # or its history is there
            self._record.begin(start)
        with self._checkpointer.handle_signals(), self._in_fit():
            return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _finetuning_state(
        self, train_data: Any, valid_data: Any, start: Path | None, stages: Any, allowed: tuple[str, ...]
    ) -> tuple[Path, dict[str, Any] | None, dict[str, Any]]:
        """Where finetuning keeps its state, the state to resume from, and all that determines it."""
        config = self.config
        inputs = finetuning_inputs(
            config,
            train_data,
            valid_data,
            read_checksum(start) if start else None,
            reads_text=self.method.reads_text(config) or any(stage.reads_text(config) for stage in stages),
        )
        own = state_path(config, f"{config['model']}-finetune", inputs)
        return *load_resume_state(config, own, stage="finetune", inputs=inputs, allowed=allowed), inputs

    def _evaluate_last(
        self, stage: PretrainingStage, path: Path | None, train_data: Any, valid_data: Any
    ) -> tuple[float, Any]:
        assert path is not None  # the stage has run
        self._last = stage, load_stage_model(stage, self.config, train_data._dataset, path)
        result = self.evaluate(valid_data or train_data)
        # Read as RecBole reads its metric: a bigger accuracy or a smaller loss is the better trial
        return result[stage.selection_metric(self.config, bigger=self.valid_metric_bigger)], result

    def _build_stage(self, *, batches: int) -> TrainingStage:
        return TrainingStage.from_config(
            self.config,
            name="finetune",
            model=self.model,
            optimizer=self.optimizer,
            batches=batches,
            epochs=self.epochs,
            schedule=self.config["lr_scheduler"] or "constant",
            warmup_ratio=self.config["warmup_ratio"] or 0.0,
        )

    @contextmanager
    def _in_fit(self) -> Iterator[None]:
        self._fitting = True
        try:
            yield
        finally:
            self._fitting = False

    def _own_state(self) -> dict[str, Any]:
        """What RecBole's ``fit`` remembers from one epoch to the next."""
        best = self.best_valid_result
        return {
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": None if best is None else {name: float(value) for name, value in best.items()},
            "train_loss_dict": dict(self.train_loss_dict),
            "saved_model_file": Path(self.saved_model_file).name,
        }

    def _restore_own_state(self, own: dict[str, Any], *, beside: Path, saved: bool) -> None:
        name = own["saved_model_file"]
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".pth"):
            raise WeightsError(
                f"resume: {beside} names {name!r} as its best model, expected a .pth file next to it"
            )
        best = beside.with_name(name)
        if saved and own["best_valid_result"] is not None and not best.is_file():
            raise WeightsError(
                f"resume: {beside} goes on from {best}, its best epoch so far, and there is no such file; put it "
                "back, or leave out --resume to start over"
            )
        self.saved_model_file = str(best)
        self.cur_step = own["cur_step"]
        self.best_valid_score = own["best_valid_score"]
        self.best_valid_result = own["best_valid_result"]
        self.train_loss_dict = own["train_loss_dict"]

    def _reporter(self, verbose: bool, stage: str) -> Any:
        def report(epoch: int, figures: dict[str, float]) -> None:
            if verbose:
                told = ", ".join(f"{name.replace('_', ' ')}: {value:.4f}" for name, value in figures.items())
                self.logger.info(f"epoch {epoch} {stage} [{told}]")
            for name, value in figures.items():
                objective, _, kind = name.rpartition("_")
                self.tensorboard.add_scalar(f"{kind.title()}/{stage.title()}/{objective}", value, epoch)
            self.wandblogger.log_metrics({"epoch": epoch, **figures}, head=stage)

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
        if not math.isfinite(score):
            metric = self.config["valid_metric"]
            raise TrainingError(
                f"finetune: the {metric} of validation is {score}, so no epoch can be selected by it; lower the "
                "learning rate, or set another valid_metric"
            )
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
        """RecBole's evaluation, in bf16 with ``enable_amp``; without finetuning, the last stage's metrics."""
        if self._last is not None:
            stage, model = self._last
            return stage.evaluate(self.config, model, eval_data)
        if load_best_model:
            self.load_best(model_file)
        with autocast(self.device, self.enable_amp):
            result = super().evaluate(eval_data, False, None, show_progress)
        if self._record is not None and load_best_model and model_file is None:  # the best weights are in place
            self._record.finish(self.model, eval_data, result, self.best_valid_score, show_progress=show_progress)
        if self._checkpointer is not None and not self._fitting:
            self._checkpointer.remove()  # kept up to here, or a kill before the test would cost the training
        return result

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        # Every rank has all rows, so what RecBole ranks instead of scoring each can compute in whole
        if distributed.current().world == 1 or self.eval_type != EvaluatorType.VALUE:
            return super()._neg_sample_batch_eval(batched_data)
        interaction, _, positive_u, positive_i = batched_data
        return interaction, predict(self.model, interaction.to(self.device), self.device), positive_u, positive_i

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if self._checkpointer is not None:
            self._checkpointer.flush()
        super()._save_checkpoint(epoch, verbose, **kwargs)

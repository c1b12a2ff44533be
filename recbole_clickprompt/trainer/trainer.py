"""RecBole's trainer with our two stages."""

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

from recbole_clickprompt import distributed as ranks
from recbole_clickprompt.backbones.unseen import zero_unseen
from recbole_clickprompt.errors import TrainingError, WeightsError
from recbole_clickprompt.methods.clickprompt.pretraining_evaluation import evaluate_pretraining
from recbole_clickprompt.plm.text_init import begin_from_text
from recbole_clickprompt.trainer.checkpoint import check_writable
from recbole_clickprompt.trainer.data_parallel import predict
from recbole_clickprompt.trainer.fingerprint import finetuning_inputs, state_path
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.pretrained_checkpoint import load_parts, read_inputs, read_sum
from recbole_clickprompt.trainer.pretraining import load_pretrained, pretrain, pretraining_rows
from recbole_clickprompt.trainer.recbole_checkpoint import PlainCheckpoints
from recbole_clickprompt.trainer.resume import Keeper
from recbole_clickprompt.trainer.resume_file import find_state
from recbole_clickprompt.trainer.run_logger import RunRecord
from recbole_clickprompt.trainer.sampling import finetuning_loader
from recbole_clickprompt.trainer.stage import Stage, autocast

__all__ = ["ClickPromptTrainer"]


class ClickPromptTrainer(PlainCheckpoints, Trainer):
    """Pretraining, then finetuning by RecBole's own ``fit``.

    ``train_stage`` says what runs: ``all``; ``pretrain`` alone, whose results are its loss and accuracy;
    or ``finetune`` alone, from ``pre_model_path`` or, without one, from scratch.
    """

    def __init__(self, config: Any, model: Any) -> None:
        check_writable(Path(config["checkpoint_dir"]))
        super().__init__(config, model)
        # RecBole's name changes every second; runs side by side must not share a file
        self.saved_model_file: str
        root, extension = os.path.splitext(self.saved_model_file)
        self.saved_model_file = ranks.current().agree(f"{root}-{uuid.uuid4().hex[:8]}{extension}")
        self._stage: Stage
        self._keeper: Keeper | None = None
        self._fitting = False
        self._record: RunRecord | None = None  # of a run that is kept, until it is tested
        self._pretrained: Any = None  # the model to evaluate where pretraining is all there is

    def _build_optimizer(self, **_: Any) -> torch.optim.Optimizer:
        return build_optimizer(
            self.model,
            learner=self.learner,
            learning_rate=self.learning_rate,
            plm_learning_rate=self.config["plm_learning_rate"],
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
        inputs = finetuning_inputs(config, train_data, valid_data, read_sum(start) if start else None)
        own = state_path(config, "finetune", inputs)
        kept, state = find_state(config, own, stage="finetune", inputs=inputs)
        if state is None and config["train_stage"] != "finetune":
            start = pretrain(
                config, whole, valid_data, show_progress=show_progress, report=self._reporter(verbose)
            )
            if config["train_stage"] == "pretrain":
                self._pretrained = load_pretrained(config, whole._dataset, start)
                return self._evaluate_pretrained(valid_data or whole)
        if state is None:
            self._begin(start, whole, train_data, valid_data)
        self._stage = self._build_stage(batches=len(train_data))
        self._keeper = Keeper.of(config, self._stage, path=kept, inputs=inputs, capture=self._own_state)
        if state is not None:
            self.start_epoch = self._keeper.restore(state)
            self._restore_own_state(state["own"], beside=kept, saved=saved)
        self._record = RunRecord(config, self.saved_model_file, train_data, valid_data) if saved else None
        if self._record is not None and state is None:  # or its history is there
            self._record.begin(start)
        with self._keeper.guarding(), self._in_fit():
            return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _begin(self, start: Path | None, whole: Any, train_data: Any, valid_data: Any) -> None:
        """Gives the weights what they begin finetuning with; ``train_data`` may be a sample of ``whole``."""
        config, backbone = self.config, self.model.backbone.model
        from_text = config["init_from_text"] or ()
        if start is not None:
            of_tables = ("backbone",) if config["load_pretrained"] == "embeddings" else ()
            # What the file was made for, which another run's settings need not say: without PA-MLM nothing but the
            # backbone was pretrained
            objectives = read_inputs(start)["settings"].get("pretrain_objectives", ["mlm"])
            parts = self.model.handed_over if "mlm" in objectives else ("backbone",)
            load_parts(self.model, start, parts, embeddings_of=of_tables)
        elif from_text:
            number = begin_from_text(backbone, config, whole._dataset)
            self.logger.info(f"{number} embeddings begin from text")
        if config["unseen_id_embeddings"] == "zero":
            pretrained = [] if start is None else [pretraining_rows(config, whole, valid_data)]
            # A text is known where no click is
            number = zero_unseen(backbone, [train_data._dataset, *pretrained], but=from_text)
            self.logger.info(f"{number} embeddings that training never reads begin at zero")

    def _evaluate_pretrained(self, eval_data: Any) -> tuple[float, Any]:
        result = self.evaluate(eval_data)
        # Read as RecBole reads its metric: a bigger accuracy or a smaller loss is the better trial
        first = self.config["pretrain_objectives"][0]
        return result[f"{first}_{'accuracy' if self.valid_metric_bigger else 'loss'}"], result

    def _build_stage(self, *, batches: int) -> Stage:
        return Stage.of(
            self.config,
            name="finetune",
            model=self.model,
            optimizer=self.optimizer,
            batches=batches,
            epochs=self.epochs,
            schedule=self.config["lr_scheduler"],
            warmup_ratio=self.config["warmup_ratio"],
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
                "back, or leave out --resume to begin anew"
            )
        self.saved_model_file = str(best)
        self.cur_step = own["cur_step"]
        self.best_valid_score = own["best_valid_score"]
        self.best_valid_result = own["best_valid_result"]
        self.train_loss_dict = own["train_loss_dict"]

    def _reporter(self, verbose: bool) -> Any:
        def report(epoch: int, figures: dict[str, float]) -> None:
            if verbose:
                told = ", ".join(f"{name.replace('_', ' ')}: {value:.4f}" for name, value in figures.items())
                self.logger.info(f"epoch {epoch} pretraining [{told}]")
            for name, value in figures.items():
                objective, _, kind = name.rpartition("_")
                beside = "" if objective == "mlm" else f"/{objective}"
                self.tensorboard.add_scalar(f"{kind.title()}/Pretrain{beside}", value, epoch)
            self.wandblogger.log_metrics({"epoch": epoch, **figures}, head="pretrain")

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
        """RecBole's evaluation, in bf16 where ``enable_amp`` says so; of a pretrained model, its figures."""
        if self._pretrained is not None:
            return evaluate_pretraining(self.config, self._pretrained, eval_data)
        if load_best_model:
            self.load_best(model_file)
        with autocast(self.device, self.enable_amp):
            result = super().evaluate(eval_data, False, None, show_progress)
        if self._record is not None and load_best_model and model_file is None:  # the best weights are in place
            self._record.finish(self.model, eval_data, result, self.best_valid_score, show_progress=show_progress)
        if self._keeper is not None and not self._fitting:
            self._keeper.remove()  # kept up to here, or a kill before the test would cost the training
        return result

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        # Every rank has all rows, so what RecBole ranks instead of scoring each can compute in whole
        if ranks.current().world == 1 or self.eval_type != EvaluatorType.VALUE:
            return super()._neg_sample_batch_eval(batched_data)
        interaction, _, positive_u, positive_i = batched_data
        return interaction, predict(self.model, interaction.to(self.device), self.device), positive_u, positive_i

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if self._keeper is not None:
            self._keeper.keep_up()
        super()._save_checkpoint(epoch, verbose, **kwargs)

"""RecBole's trainer, extended by the stages of a method before finetuning."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType, get_local_time

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.table import sharded_tables
from recbole_clickprompt.embeddings.torchrec_rows import shard_tables
from recbole_clickprompt.errors import SettingError, TrainingError
from recbole_clickprompt.files import remove_leftovers
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.trainer.checkpoint import check_writable
from recbole_clickprompt.trainer.data_parallel import predict, predict_own
from recbole_clickprompt.trainer.epoch_parts import EpochParts
from recbole_clickprompt.trainer.fingerprint import finetuning_inputs, state_path
from recbole_clickprompt.trainer.fit_state import fit_state, restore_fit_state
from recbole_clickprompt.trainer.group_metrics import GAUC, GroupCollector, GroupEvaluator, metrics_of_recbole
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.own_rows import OwnRowsEvalLoader, RowCounts
from recbole_clickprompt.trainer.pretrained_checkpoint import read_checksum
from recbole_clickprompt.trainer.protocols import (
    CTRModel,
    ExampleStage,
    FinetuningMethod,
    FollowsTraining,
    PretrainingStage,
    ReadsLastStage,
    StageModel,
)
from recbole_clickprompt.trainer.recbole_checkpoint import PlainCheckpoints
from recbole_clickprompt.trainer.reporting import stage_reporter
from recbole_clickprompt.trainer.restored_optimizer import restore_optimizer
from recbole_clickprompt.trainer.resume import ResumeCheckpointer
from recbole_clickprompt.trainer.resume_file import load_resume_state
from recbole_clickprompt.trainer.rowwise_adagrad import EPS
from recbole_clickprompt.trainer.run_logger import RunLogger
from recbole_clickprompt.trainer.sampling import finetuning_loader
from recbole_clickprompt.trainer.stage import TrainingStage, autocast
from recbole_clickprompt.trainer.stages import (
    Report,
    carry_over,
    load_stage_model,
    run_stage,
    stages_of,
)
from recbole_clickprompt.trainer.warm_start import WarmStart, find_warm_start

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.interaction import Interaction

__all__ = ["StagedTrainer"]


class StagedTrainer(PlainCheckpoints, Trainer):
    """Runs the stages of a method, then finetuning with RecBole's own ``fit``.

    ``train_stage`` selects what runs: ``all`` stages and finetuning; the stages up to the named one, whose metrics
    are then the result; or only ``finetune``, from ``pre_model_path`` if given, else from scratch.

    Args:
        config: Settings of the run.
        model: The model to finetune.
        method: Provides the stages and the initial weights of finetuning.

    Raises:
        StorageError: ``checkpoint_dir`` is not writable.
    """

    def __init__(self, config: Config, model: CTRModel, method: FinetuningMethod) -> None:
        self.method = method
        folder = Path(config["checkpoint_dir"])
        check_writable(folder)
        if distributed.current().is_main and (removed := remove_leftovers(folder)):
            names = ", ".join(str(path) for path in removed)
            getLogger().warning(f"removed unfinished files of killed processes: {names}")
        if config["embedding_engine"] == "torchrec":
            shard_tables(
                model,
                sharding=config["embedding_sharding"],
                device=config["device"],
                batch_size=config["train_batch_size"],
                eps=EPS,
            )
        super().__init__(config, model)
        if metrics_of_recbole(config["metrics"]) != list(config["metrics"]):
            self.eval_collector, self.evaluator = GroupCollector(config), GroupEvaluator(config)
        # RecBole's file name has a resolution of one second, but concurrent runs must not share a file
        file = f"{method.run_name(config)}-{get_local_time()}-{uuid.uuid4().hex[:8]}.pth"
        self.saved_model_file: str = str(folder / distributed.current().broadcast_object(file))
        self._stage: TrainingStage
        self._checkpointer: ResumeCheckpointer | None = None
        self._fitting = False
        self._run_logger: RunLogger | None = None  # for a run that is saved
        # The stage and model to evaluate if there is no finetuning
        self._last_stage: tuple[PretrainingStage, StageModel] | None = None

    def _build_optimizer(self, **_: object) -> torch.optim.Optimizer:
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
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], object] | None = None,
    ) -> tuple[float, Any]:
        """Runs what ``train_stage`` selects; arguments and results are those of RecBole's ``fit``."""
        with closing(self.tensorboard):  # its thread would last as long as the process
            return self._fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _fit(
        self,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        verbose: bool,
        saved: bool,
        show_progress: bool,
        callback_fn: Callable[[int, float], object] | None,
    ) -> tuple[float, Any]:
        config = self.config
        all_rows, train_data = train_data, finetuning_loader(config, train_data)
        rows = sum(train_data._dataset.row_group.all_gather(len(train_data._dataset)))
        if any(sharded_tables(self.model)) and rows < distributed.current().world:
            raise SettingError(
                f"{distributed.current().world} processes share {rows} training rows; start at most as many "
                "processes as there are rows"
            )
        self.encoding = Encoding.of(train_data._dataset)
        warm = find_warm_start(config, self.encoding)
        start = Path(config["pre_model_path"]) if config["pre_model_path"] else None
        stages = stages_of(config, self.method.stages)
        stages = stages if warm is None else warm.remaining(stages)
        finetunes = config["train_stage"] in ("all", "finetune")
        allowed = (*(stage.name for stage in stages), *(["finetune"] if finetunes else []))
        state_file, state, inputs = self._finetuning_state(train_data, valid_data, start, stages, allowed, warm)
        reads_stage = isinstance(self.model, ReadsLastStage)
        if state is None or reads_stage:  # a resumed run reuses the results of its stages
            for stage in stages:
                start = run_stage(
                    stage, config, all_rows, valid_data, previous=start, allowed=allowed, warm_start=warm,
                    show_progress=show_progress, report=self._reporter(verbose, stage.name),
                )  # fmt: skip
            if not stages and warm is not None and not warm.is_finetuned:
                start = carry_over(self._stage_named(warm.saved.stage), config, all_rows, valid_data, warm)
            if not finetunes:
                return self._evaluate_last(stages[-1], start, all_rows, valid_data)
        if reads_stage:
            self.model.read_stage(start)
        if state is None:
            self._begin_finetuning(start, train_data, valid_data, all_rows, warm)
        self._stage = TrainingStage.from_config(
            config,
            name="finetune",
            model=self.model,
            optimizer=self.optimizer,
            steps=config["epochs"] * len(train_data),
            epochs=config["epochs"],
            schedule=config["lr_scheduler"] or "constant",
            warmup_ratio=config["warmup_ratio"] or 0.0,
            enable_amp=config["enable_amp"],
        )
        if config["evals_per_epoch"] > 1:
            train_data = EpochParts(config, train_data, config["evals_per_epoch"])
            self.epochs = self._stage.epochs = config["epochs"] * train_data.parts
        self._checkpointer = ResumeCheckpointer.from_config(
            config, self._stage, path=state_file, inputs=inputs, capture=lambda: fit_state(self)
        )
        if state is not None:
            self.start_epoch = self._checkpointer.restore(state)
            restore_fit_state(self, state["own"], state_file=state_file, saved=saved)
        if saved:
            self._run_logger = RunLogger(
                config, self.saved_model_file, train_data, valid_data, self.method, all_rows=all_rows
            )
            if state is None:  # a resumed run has a history
                self._run_logger.begin(start)
        else:
            self._run_logger = None
        with self._checkpointer.handle_signals(), self._in_fit():
            return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _begin_finetuning(
        self,
        start: Path | None,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        all_rows: AbstractDataLoader,
        warm: WarmStart | None,
    ) -> None:
        """Sets the weights that finetuning starts from: those of ``start``, or of a finetuned model."""
        config = self.config
        if warm is not None:
            train_data._dataset.known_ids = warm.known_ids()
        continues = warm is not None and warm.is_finetuned
        if warm is not None and continues:
            warm.prepare(self.model)
        self.method.begin_finetuning(
            config, self.model, start=None if continues else start,
            train_data=train_data, valid_data=valid_data, all_rows=all_rows,
        )  # fmt: skip
        if warm is not None and continues:
            warm.copy_into(
                self.model,
                config,
                zero=config["unseen_id_embeddings"] == "zero",
                but=config["init_from_text"] or (),
            )
            if config["warm_start_optimizer"] == "restored":
                restore_optimizer(self.optimizer, self.model, warm.saved, warm.ids, learner=config["learner"])

    def _stage_named(self, name: str) -> PretrainingStage:
        return next(stage for stage in self.method.stages if stage.name == name)

    def _finetuning_state(
        self,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        start: Path | None,
        stages: Sequence[PretrainingStage],
        allowed: tuple[str, ...],
        warm: WarmStart | None,
    ) -> tuple[Path, dict[str, Any] | None, dict[str, Any]]:
        """The state file of finetuning, the state to resume from if any, and the inputs that determine it."""
        config = self.config
        inputs = finetuning_inputs(
            config,
            train_data,
            valid_data,
            read_checksum(start) if start else None,
            reads_text=self.method.reads_text(config) or any(stage.reads_text(config) for stage in stages),
            further={
                **self.method.inputs(config, train_data._dataset),
                **({} if warm is None else {"warm_start": warm.digest()}),
            },
        )
        default = state_path(config, f"{config['model']}-finetune", inputs)
        return *load_resume_state(config, default, stage="finetune", inputs=inputs, allowed=allowed), inputs

    def _evaluate_last(
        self,
        stage: PretrainingStage,
        path: Path | None,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
    ) -> tuple[float, Any]:
        assert path is not None  # the stage has run
        dataset = train_data._dataset
        if isinstance(stage, ExampleStage):
            dataset = stage.training_rows(self.config, train_data, valid_data)
        self._last_stage = stage, load_stage_model(stage, self.config, dataset, path)
        result = self.evaluate(valid_data or train_data)
        # A search compares trials as RecBole does, by valid_metric_bigger: it gets an accuracy or a loss
        # accordingly
        return result[stage.selection_metric(self.config, bigger=self.valid_metric_bigger)], result

    @contextmanager
    def _in_fit(self) -> Iterator[None]:
        self._fitting = True
        try:
            yield
        finally:
            self._fitting = False

    def _reporter(self, verbose: bool, stage: str) -> Report:
        return stage_reporter(self, stage, verbose=verbose)

    def _train_epoch(
        self,
        train_data: AbstractDataLoader,
        epoch_idx: int,
        loss_func: object = None,
        show_progress: bool = False,
    ) -> float:
        if isinstance(train_data, EpochParts):
            train_data.begin(epoch_idx)
        loss = self._stage.train_epoch(train_data, epoch_idx, show_progress=show_progress)
        if self._run_logger is not None:
            self._run_logger.epoch(epoch_idx, loss)
        return loss

    def _valid_epoch(self, valid_data: AbstractDataLoader, show_progress: bool = False) -> tuple[float, Any]:
        score, result = super()._valid_epoch(valid_data, show_progress)
        if not math.isfinite(score):
            metric = self.config["valid_metric"]
            grouped = ", or no group of validation rows has both labels" if self.valid_metric == GAUC else ""
            raise TrainingError(
                f"finetune: the validation {metric} is {score}, so it cannot select an epoch; training diverged"
                f"{grouped}: lower the learning rate, or set another valid_metric"
            )
        if self._run_logger is not None:
            self._run_logger.validated(result)
        return score, result

    def evaluate(
        self,
        eval_data: AbstractDataLoader,
        load_best_model: bool = True,
        model_file: str | Path | None = None,
        show_progress: bool = False,
    ) -> Any:
        """RecBole's evaluation, in bf16 with ``enable_amp``; without finetuning, the metrics of the last stage."""
        if self._last_stage is not None:
            stage, model = self._last_stage
            return stage.evaluate(self.config, model, eval_data)
        if load_best_model:
            self.load_best(model_file)
        batches = OwnRowsEvalLoader(eval_data) if eval_data and eval_data._dataset.shares_rows else eval_data
        with autocast(self.device, self.enable_amp):
            result = super().evaluate(batches, False, None, show_progress)
        if result is not None:  # NumPy 2 shows the types of its numbers
            result = type(result)((name, float(value)) for name, value in result.items())
        if self._run_logger is not None and load_best_model and model_file is None:  # the best weights are loaded
            self._run_logger.finish(
                self.model, eval_data, result, self.best_valid_score, show_progress=show_progress
            )
        if self._checkpointer is not None and not self._fitting:
            self._checkpointer.remove()  # not earlier: a run killed before its test must be resumable
        return result

    def _neg_sample_batch_eval(
        self, batched_data: tuple[Interaction, Any, Any, Any]
    ) -> tuple[Interaction, torch.Tensor, Any, Any]:
        if self._checkpointer is not None and self._fitting:
            self._checkpointer.stop_if_asked()
        if isinstance(batched_data[1], RowCounts):
            fields = {self.config[name] for name in ("LABEL_FIELD", "USER_ID_FIELD", "gauc_field")} - {None}
            rows, scores = predict_own(self.model, *batched_data[:2], sorted(fields), self.device)
            return rows, scores, None, None
        # Predictions are sharded over ranks only for metrics of scores; otherwise each rank predicts all rows
        if distributed.current().world == 1 or self.eval_type != EvaluatorType.VALUE:
            return super()._neg_sample_batch_eval(batched_data)
        interaction, _, positive_u, positive_i = batched_data
        return interaction, predict(self.model, interaction.to(self.device), self.device), positive_u, positive_i

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: str) -> None:
        if isinstance(self.model, FollowsTraining):
            with autocast(self.device, self.enable_amp):
                self.model.before_saving()
        if self._checkpointer is not None:
            self._checkpointer.flush()
        super()._save_checkpoint(epoch, verbose, **kwargs)

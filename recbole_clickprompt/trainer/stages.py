"""Runs a stage before finetuning: reuses an existing result of the same inputs, resumes, or trains it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.dataloader import TrainDataLoader

from recbole_clickprompt import distributed
from recbole_clickprompt.evaluation.history import history_beside, read_epochs
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.best_weights import BestWeights
from recbole_clickprompt.trainer.example_loader import ExampleLoader
from recbole_clickprompt.trainer.fingerprint import checkpoint_path, computes_in_bf16, stage_inputs, state_path
from recbole_clickprompt.trainer.gradient_caching import WholeBatchModel, whole_batch_size
from recbole_clickprompt.trainer.pretrained_checkpoint import (
    has_encoding,
    load_pretrained,
    read_inputs,
    save_pretrained,
)
from recbole_clickprompt.trainer.protocols import ExampleStage, PretrainingStage, StageModel, ValidatedStage
from recbole_clickprompt.trainer.resume import ResumeCheckpointer
from recbole_clickprompt.trainer.resume_file import load_resume_state
from recbole_clickprompt.trainer.run_logger import log_stage_epoch
from recbole_clickprompt.trainer.running_metrics import compute_and_reset
from recbole_clickprompt.trainer.stage import TrainingStage, autocast
from recbole_clickprompt.trainer.warm_start import WarmStart, trained_ids

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

__all__ = ["Report", "carry_over", "load_stage_model", "run_stage", "stages_of"]

# Called with the number of each epoch, from 0, and its metrics; also for the epochs of a stage that is reused
Report = Callable[[int, dict[str, float]], None]


def stages_of(config: Settings, stages: Iterable[PretrainingStage]) -> list[PretrainingStage]:
    """The enabled stages before finetuning that ``train_stage`` selects: all, or those up to the named one."""
    enabled = [stage for stage in stages if stage.is_enabled(config)]
    wanted = config["train_stage"]
    if wanted == "all":
        return enabled
    names = [stage.name for stage in enabled]
    return enabled[: names.index(wanted) + 1] if wanted in names else []


def carry_over(
    stage: PretrainingStage,
    config: Config,
    train_data: AbstractDataLoader,
    valid_data: AbstractDataLoader | None,
    warm: WarmStart,
) -> Path:
    """The result of a stage for the present vocabulary, from one for an earlier vocabulary, without training.

    Args:
        stage: The stage that wrote the saved result.
        config: Settings of the run.
        train_data: Loader of the training rows.
        valid_data: Loader of the validation rows, or None.
        warm: The saved result.

    Returns:
        Path of the checkpoint.
    """
    if isinstance(stage, ExampleStage):  # none of its weights depends on the vocabulary
        return warm.saved.path
    dataset = stage.training_rows(config, train_data, valid_data)
    zero = config["unseen_id_embeddings"] == "zero"
    inputs = {**_inputs(stage, config, dataset, None, warm), "epochs": 0, "zero": zero}
    path = checkpoint_path(config, stage.label(config), inputs)
    if not distributed.current().broadcast_object(path.exists() and read_inputs(path) == inputs):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            model = stage.build(config, dataset)
            stage.begin(config, dataset, model, None)
            warm.copy_into(model, config, zero=zero, but=config["init_from_text"] or ())
            encoding = replace(warm.encoding, trained=trained_ids(None, warm.encoding, warm))
            save_pretrained(model, path, inputs=inputs, epoch=0, stage=stage.name, encoding=encoding)
    return path


def run_stage(
    stage: PretrainingStage,
    config: Config,
    train_data: AbstractDataLoader,
    valid_data: AbstractDataLoader | None = None,
    *,
    previous: Path | None = None,
    allowed: tuple[str, ...],
    warm_start: WarmStart | None = None,
    show_progress: bool,
    report: Report,
) -> Path:
    """Trains a stage unless a checkpoint of the same inputs exists.

    A ``ValidatedStage`` keeps the weights of its best epoch, and ends when its patience is exhausted.

    The stage starts from the seed, uses a loader of its own and restores the random state afterwards, so later
    results do not depend on whether the stage was trained or reused, or which method requested it.

    Args:
        stage: The stage.
        config: Settings of the run.
        train_data: Loader of the training rows.
        valid_data: Loader of the validation rows, or None.
        previous: The checkpoint of the previous stage.
        allowed: Names of the stages of this run, for the error about a saved state of another stage.
        warm_start: An earlier run; if it is one of this stage, the stage continues from its weights.
        show_progress: Whether to show a progress bar.
        report: Called with the metrics of each epoch.

    Returns:
        Path of the checkpoint.

    Raises:
        SettingError: The state to resume from belongs to another run.
        WeightsError: A checkpoint or state is damaged.
        TrainingError: Training diverges.
    """
    logger = getLogger()
    dataset = stage.training_rows(config, train_data, valid_data)
    warm = warm_start if warm_start is not None and warm_start.saved.stage == stage.name else None
    inputs = _inputs(stage, config, dataset, previous, warm)
    encoding = None if isinstance(stage, ExampleStage) else Encoding.of(train_data._dataset)
    path = checkpoint_path(config, stage.label(config), inputs)
    if distributed.current().broadcast_object(_is_result(path, inputs, encoding)):
        logger.info(f"{stage.name} reused: {path}")
        for line in read_epochs(history_beside(path)):
            report(line["epoch"], {name: value for name, value in line.items() if name not in ("stage", "epoch")})
        return path
    device = config["device"]
    state_file, state = load_resume_state(
        config,
        state_path(config, stage.label(config), inputs),
        stage=stage.name,
        inputs=inputs,
        allowed=allowed,
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_seed(stage, config))
        model = stage.build(config, dataset).to(device)
        if not state:
            stage.begin(config, dataset, model, previous)
            if warm is not None:
                warm.copy_into(model, config, zero=False)
        loader = _loader(stage, config, model, train_data, dataset)
        training = _training(stage, config, model, len(loader))
        best = BestWeights(stage.patience(config)) if isinstance(stage, ValidatedStage) else None
        checkpointer = ResumeCheckpointer.from_config(
            config,
            training,
            path=state_file,
            inputs=inputs,
            capture=lambda: {**_sums(model), **({} if best is None else {"best": best.state()})},
        )
        begin = checkpointer.restore(state) if state else 0
        if state and best is not None:
            best.restore(state["own"].get("best"), model, state_file)
        if state and distributed.current().is_main:
            for name, sums in state["own"]["tallies"].items():
                model.metrics[name].sums = sums
        with checkpointer.handle_signals():
            epoch, metrics = -1, dict[str, float]()
            for epoch in range(begin, training.epochs):
                training.train_epoch(loader, epoch, show_progress=show_progress)
                metrics = compute_and_reset(model.metrics, device)
                if isinstance(stage, ValidatedStage):
                    assert best is not None
                    with autocast(device, training.enable_amp):
                        metrics[f"{stage.name}_valid_loss"] = stage.validate(config, model, dataset)
                    best.update(epoch, metrics[f"{stage.name}_valid_loss"], model, stage=stage.name)
                report(epoch, metrics)
                log_stage_epoch(config, path, epoch, metrics, stage=stage.name)
                if best is not None and best.is_exhausted():
                    break
            epochs = training.epochs if best is None else best.load_into(model)
            if isinstance(stage, ExampleStage) and (found := stage.finish(config, model, dataset, path)):
                report(max(epoch, 0), found)
                log_stage_epoch(config, path, max(epoch, 0), {**metrics, **found}, stage=stage.name)
            if encoding is not None:
                encoding = replace(encoding, trained=trained_ids(dataset, encoding, warm))
            save_pretrained(model, path, inputs=inputs, epoch=epochs, stage=stage.name, encoding=encoding)
            checkpointer.remove()
    logger.info(f"{stage.name} saved: {path}")
    return path


def load_stage_model(stage: PretrainingStage, config: Config, dataset: Dataset, path: Path) -> StageModel:
    """Loads the trained model of a stage from its checkpoint, onto the device of the run."""
    model = stage.build(config, dataset)
    load_pretrained(model, path)
    return model.to(config["device"])


def _sums(model: StageModel) -> dict[str, Any]:
    # Each rank counts its own rows, so the file contains the sums over all ranks; see run_stage
    gathered = {name: distributed.current().all_gather(metric.sums) for name, metric in model.metrics.items()}
    return {"tallies": {name: tuple(map(sum, zip(*sums, strict=True))) for name, sums in gathered.items()}}


def _is_result(path: Path, inputs: dict[str, Any], encoding: Encoding | None) -> bool:
    """Whether a file is the result of these inputs; ids of equal rows must stand for the same values too."""
    if not path.exists() or read_inputs(path) != inputs:
        return False
    return encoding is None or has_encoding(path, encoding)


def _inputs(
    stage: PretrainingStage, config: Config, dataset: Dataset, previous: Path | None, warm: WarmStart | None
) -> dict[str, Any]:
    """What determines the stage: of its examples by its own account, of rows by settings and data."""
    if isinstance(stage, ExampleStage):
        inputs = stage.inputs(config, dataset)
    else:
        inputs = stage_inputs(config, dataset, reads_text=stage.reads_text(config), previous=previous)
    return inputs if warm is None else {**inputs, "warm_start": warm.digest()}


def _training(stage: PretrainingStage, config: Config, model: StageModel, batches: int) -> TrainingStage:
    schedule, warmup_ratio = stage.schedule(config)
    epochs = stage.epochs(config)
    return TrainingStage.from_config(
        config,
        name=stage.name,
        model=model,
        optimizer=stage.optimizer(config, model),
        steps=epochs * batches,
        epochs=epochs,
        schedule=schedule,
        warmup_ratio=warmup_ratio,
        enable_amp=stage.enable_amp(config)
        if isinstance(stage, ExampleStage)
        else computes_in_bf16(config, reads_text=stage.reads_text(config)),
    )


def _seed(stage: PretrainingStage, config: Settings) -> int:
    return stage.seed(config) if isinstance(stage, ExampleStage) else config["seed"]


def _loader(
    stage: PretrainingStage, config: Config, model: StageModel, train_data: AbstractDataLoader, dataset: Dataset
) -> TrainDataLoader | ExampleLoader:
    batch_size = stage.batch_size(config)
    if isinstance(model, WholeBatchModel):
        batch_size = whole_batch_size(len(dataset), batch_size)
    if isinstance(stage, ExampleStage):
        return ExampleLoader(dataset, batch_size=batch_size, shuffle=config["shuffle"], seed=_seed(stage, config))
    changed = copy.copy(config)
    changed.final_config_dict = {**config.final_config_dict, "train_batch_size": batch_size}
    return TrainDataLoader(changed, dataset, train_data._sampler, shuffle=config["shuffle"])

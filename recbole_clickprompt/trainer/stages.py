"""Runs a stage before finetuning: reuses an equal result, or trains it, resuming where it was interrupted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataloader import TrainDataLoader

from recbole_clickprompt import distributed
from recbole_clickprompt.evaluation.history import history_beside, read_epochs
from recbole_clickprompt.trainer.fingerprint import checkpoint_path, stage_inputs, state_path
from recbole_clickprompt.trainer.pretrained_checkpoint import load_pretrained, read_inputs, save_pretrained
from recbole_clickprompt.trainer.protocols import PretrainingStage
from recbole_clickprompt.trainer.resume import ResumeCheckpointer
from recbole_clickprompt.trainer.resume_file import load_resume_state
from recbole_clickprompt.trainer.run_logger import log_stage_epoch
from recbole_clickprompt.trainer.running_metrics import compute_and_reset
from recbole_clickprompt.trainer.stage import TrainingStage

__all__ = ["load_stage_model", "run_stage", "stages_of"]

# Called with each epoch's number, from 0, and its metrics, as it ends or, where it is reused, as it once was
Report = Callable[[int, dict[str, float]], None]


def stages_of(config: Any, stages: Any) -> list[PretrainingStage]:
    """The stages before finetuning that ``train_stage`` names: all that are enabled, or those up to one."""
    enabled = [stage for stage in stages if stage.is_enabled(config)]
    wanted = config["train_stage"]
    if wanted == "all":
        return enabled
    names = [stage.name for stage in enabled]
    return enabled[: names.index(wanted) + 1] if wanted in names else []


def run_stage(
    stage: PretrainingStage,
    config: Any,
    train_data: Any,
    valid_data: Any = None,
    *,
    previous: Path | None = None,
    allowed: tuple[str, ...],
    show_progress: bool,
    report: Report,
) -> Path:
    """Gives the checkpoint of a stage, trained now unless an equal one is available.

    It runs from a seed and a loader of its own and leaves the random state as it found it: what follows is the
    same whether the stage ran or was reused, and which of the methods asked for it.

    Args:
        stage: What to train.
        config: Of the run.
        train_data: Loader of the training rows.
        valid_data: Loader of the validation rows, or None.
        previous: The checkpoint of the stage before.
        allowed: The stages that this run has, for the error about a state of another one.
        show_progress: Whether to show a progress bar.
        report: Takes the metrics of each epoch.
    """
    logger = getLogger()
    dataset = stage.training_rows(config, train_data, valid_data)
    inputs = stage_inputs(config, dataset, reads_text=stage.reads_text(config), previous=previous)
    path = checkpoint_path(config, stage.label(config), inputs)
    if distributed.current().broadcast_object(path.exists() and read_inputs(path) == inputs):
        logger.info(f"{stage.name} reused: {path}")
        for line in read_epochs(history_beside(path)):
            report(line["epoch"], {name: value for name, value in line.items() if name not in ("stage", "epoch")})
        return path
    own, device = state_path(config, stage.label(config), inputs), config["device"]
    kept, state = load_resume_state(config, own, stage=stage.name, inputs=inputs, allowed=allowed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        model = stage.build(config, dataset).to(device)
        if not state:
            stage.begin(config, dataset, model, previous)
        loader = _loader(config, train_data, dataset, stage.batch_size(config))
        training = _training(stage, config, model, len(loader))
        checkpointer = ResumeCheckpointer.from_config(
            config, training, path=kept, inputs=inputs, capture=lambda: _sums(model)
        )
        begin = checkpointer.restore(state) if state else 0
        if state and distributed.current().is_main:
            for name, sums in state["own"]["tallies"].items():
                model.metrics[name].sums = sums
        with checkpointer.handle_signals():
            for epoch in range(begin, training.epochs):
                training.train_epoch(loader, epoch, show_progress=show_progress)
                metrics = compute_and_reset(model.metrics, device)
                report(epoch, metrics)
                log_stage_epoch(config, path, epoch, metrics, stage=stage.name)
            save_pretrained(model, path, inputs=inputs, epoch=training.epochs)
            checkpointer.remove()
    logger.info(f"{stage.name} saved: {path}")
    return path


def load_stage_model(stage: PretrainingStage, config: Any, dataset: Any, path: Path) -> Any:
    """A stage's trained model out of its checkpoint, on the run's device."""
    model = stage.build(config, dataset)
    load_pretrained(model, path)
    return model.to(config["device"])


def _sums(model: Any) -> dict[str, Any]:
    # Each rank counts its own rows; the sum is the same wherever it is
    gathered = {name: distributed.current().all_gather(metric.sums) for name, metric in model.metrics.items()}
    return {"tallies": {name: tuple(map(sum, zip(*sums, strict=True))) for name, sums in gathered.items()}}


def _training(stage: PretrainingStage, config: Any, model: Any, batches: int) -> TrainingStage:
    schedule, warmup_ratio = stage.schedule(config)
    return TrainingStage.from_config(
        config,
        name=stage.name,
        model=model,
        optimizer=stage.optimizer(config, model),
        batches=batches,
        epochs=stage.epochs(config),
        schedule=schedule,
        warmup_ratio=warmup_ratio,
    )


def _loader(config: Any, train_data: Any, dataset: Any, batch_size: int) -> TrainDataLoader:
    own = copy.copy(config)
    own.final_config_dict = {**config.final_config_dict, "train_batch_size": batch_size}
    return TrainDataLoader(own, dataset, train_data._sampler, shuffle=config["shuffle"])

"""One turn of a contender: a training step, a prediction, or an epoch of a plain backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer

from benchmarks.stages.job import PLM_STAGES, Contender
from benchmarks.stages.workload import Workload, scratch_folder
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.protocols import Trainable
from recbole_clickprompt.trainer.stage import TrainingStage, autocast

__all__ = ["Turn", "build_turn"]

_INFERENCE_BATCHES = 16  # if a single one is too short to time


@dataclass
class Turn:
    """The work of a contender in a round.

    Attributes:
        contender: The contender.
        rows: Rows processed in one call.
        prepare: Maps the number of the round to the argument of ``run``; not timed.
        run: Is timed; returns the loss in a training stage.
    """

    contender: Contender
    rows: int
    prepare: Callable[[int], Any]
    run: Callable[[Any], Any]

    @property
    def bf16(self) -> bool:
        """Whether its matrix products are in bf16."""
        return bool(self.contender.settings.get("enable_amp"))


def build_turn(workload: Workload, stage: str, batch: int, contender: Contender) -> Turn:
    """Builds the contender's model and optimizer, and returns its turn."""
    if stage == "backbone":
        return _epoch(workload, batch, contender)
    if stage.endswith("inference"):
        return _inference(workload, stage, batch, contender)
    return _training(workload, stage.removeprefix("joint-"), batch, contender)


def _training(workload: Workload, stage: str, batch: int, contender: Contender) -> Turn:
    config, model = workload.plm_model(stage, contender)
    model.train()
    if contender.kind == "reference":
        step = _plain_step(model, *_rates(config, stage))
    else:
        step = _stage(config, stage, model).train_batch
    return Turn(contender, batch, lambda number: workload.rows(number, batch), step)


def _rates(config: Settings, stage: str) -> tuple[float, float]:
    prefix = "pretrain_" if stage == "pamlm" else ""
    return config[f"{prefix}learning_rate"], config[f"{prefix}plm_learning_rate"]


def _stage(config: Settings, stage: str, model: Trainable) -> TrainingStage:
    rate, plm_rate = _rates(config, stage)
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=rate, plm_learning_rate=plm_rate, weight_decay=0.0
    )
    return TrainingStage.from_config(
        config,
        name=stage,
        model=model,
        optimizer=optimizer,
        steps=1,
        epochs=1,
        schedule="constant",
        warmup_ratio=0.0,
        enable_amp=config["enable_amp"],
    )


def _plain_step(model: Trainable, rate: float, plm_rate: float) -> Callable[[Interaction], float]:
    pretrained = {id(p) for p in model.pretrained_parameters()}
    groups = [
        {"params": [p for p in model.parameters() if (id(p) in pretrained) is inside], "lr": lr}
        for inside, lr in ((False, rate), (True, plm_rate))
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, foreach=False, fused=False)

    def step(rows: Interaction) -> float:
        optimizer.zero_grad()
        loss = model.calculate_loss(rows)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _inference(workload: Workload, stage: str, batch: int, contender: Contender) -> Turn:
    plain = stage == "backbone-inference" or contender.kind == "host"
    config, model = workload.backbone_model(contender) if plain else workload.plm_model(stage, contender)
    model.eval()
    count = 1 if stage in PLM_STAGES else _INFERENCE_BATCHES

    def prepare(number: int) -> list[Any]:
        return [workload.rows(number * count + index, batch) for index in range(count)]

    @torch.no_grad()
    def run(batches: list[Any]) -> None:
        with autocast(workload.device, config["enable_amp"]):
            for rows in batches:
                model.predict(rows)

    if stage == "joint-inference":
        run(prepare(0))  # the first call builds the cache of keys and values of the texts
    return Turn(contender, batch * count, prepare, run)


def _epoch(workload: Workload, batch: int, contender: Contender) -> Turn:
    config, model = workload.backbone_model(contender)
    host = contender.kind == "host"
    loader = workload.loader(config, batch=batch, host=host)
    rows = len(loader._dataset)
    if host:
        with scratch_folder():
            trainer = Trainer(config, model)
        return Turn(contender, rows, int, lambda number: trainer._train_epoch(loader, number) / len(loader))
    ours = _stage(config, "backbone", model)
    return Turn(contender, rows, int, lambda number: ours.train_epoch(loader, number, show_progress=False))

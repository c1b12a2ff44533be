"""CPU time of a training step with lazy updates of embedding tables, compared with full updates."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.interaction import Interaction

    from recbole_clickprompt.trainer.trainer import StagedTrainer

__all__ = ["ROWWISE_STEPS", "build_trainer", "step_seconds", "training_step"]

ROWWISE_STEPS = 10  # per round, for one step with full updates


def build_trainer(config: Config, train_data: AbstractDataLoader) -> StagedTrainer:
    """The trainer of a new model."""
    from recbole.utils import get_model, get_trainer

    model = get_model(config["model"])(config, train_data._dataset)
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model)


def step_seconds(
    config_of: Callable[..., Config], train_data: AbstractDataLoader, rounds: int
) -> tuple[float, float]:
    """Median CPU seconds of a plain backbone's training step with full and with lazy updates.

    The two alternate on the batches of the loader, each with its own model. A warm-up round, in which the
    optimizer allocates its moments, is not counted.

    Args:
        config_of: Returns the config of a model with ``lazy_embedding_min_rows``, with settings overridden.
        train_data: RecBole's training loader.
        rounds: Number of rounds, each of one step with full and ``ROWWISE_STEPS`` steps with lazy updates.
    """
    whole = training_step(config_of("ClickPromptNoPLM", lazy_embedding_min_rows=None), train_data)
    rowwise = training_step(config_of("ClickPromptNoPLM"), train_data)
    first: list[float] = []
    second: list[float] = []
    turns = [(whole, 1, first), (rowwise, ROWWISE_STEPS, second)]
    batches = itertools.chain.from_iterable(itertools.repeat(train_data))
    for number in range(rounds + 1):
        for step, count, seconds in turns:
            for batch in itertools.islice(batches, count):
                start = time.process_time()
                step(batch)
                if number:
                    seconds.append(time.process_time() - start)
    return median(first), median(second)


def training_step(config: Config, train_data: AbstractDataLoader) -> Callable[[Interaction], float]:
    """A step of finetuning a new model, which returns the loss."""
    from recbole_clickprompt.trainer.stage import TrainingStage

    trainer = build_trainer(config, train_data)
    stage = TrainingStage.from_config(
        config,
        name="load",
        model=trainer.model.train(),
        optimizer=trainer.optimizer,
        steps=len(train_data),
        epochs=1,
        schedule="constant",
        warmup_ratio=0.0,
        enable_amp=config["enable_amp"],
    )
    return stage.train_batch

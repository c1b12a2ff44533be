"""Processor time of a training step that updates large tables row by row, beside one that updates all rows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

__all__ = ["ROWWISE_STEPS", "build_trainer", "step_seconds"]

ROWWISE_STEPS = 10  # in a round, beside one step of all rows


def build_trainer(config: Any, train_data: Any) -> Any:
    """The trainer of a freshly built model."""
    from recbole.utils import get_model, get_trainer

    model = get_model(config["model"])(config, train_data._dataset)
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model)


def step_seconds(config_of: Callable[..., Any], train_data: Any, rounds: int) -> tuple[float, float]:
    """Median processor seconds of a plain backbone's step that updates all rows, and of a row-wise one.

    They take turns on the batches of the loader, each with a model of its own; a round before the first, in which
    the moments are made, is not counted.

    Args:
        config_of: Gives the config of a model, which sets ``lazy_embedding_min_rows``, with some settings changed.
        train_data: RecBole's training loader.
        rounds: Each of one step of all rows and ``ROWWISE_STEPS`` row-wise ones.
    """
    whole = _step(config_of("ClickPromptNoPLM", lazy_embedding_min_rows=None), train_data)
    rowwise = _step(config_of("ClickPromptNoPLM"), train_data)
    turns: list[tuple[Any, int, list[float]]] = [(whole, 1, []), (rowwise, ROWWISE_STEPS, [])]
    batches = itertools.chain.from_iterable(itertools.repeat(train_data))
    for number in range(rounds + 1):
        for step, count, seconds in turns:
            for batch in itertools.islice(batches, count):
                start = time.process_time()
                step(batch)
                if number:
                    seconds.append(time.process_time() - start)
    first, second = (median(seconds) for _, _, seconds in turns)
    return first, second


def _step(config: Any, train_data: Any) -> Callable[[Any], float]:
    from recbole_clickprompt.trainer.stage import TrainingStage

    trainer = build_trainer(config, train_data)
    stage = TrainingStage.from_config(
        config,
        name="load",
        model=trainer.model.train(),
        optimizer=trainer.optimizer,
        batches=len(train_data),
        epochs=1,
        schedule="constant",
        warmup_ratio=0.0,
    )
    return stage.train_batch

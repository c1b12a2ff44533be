"""Distill a teacher's answers into a small language model, and compare what it writes with what was held out.

Accepts --key=value settings as `run` does, such as --distill_epochs=3 or --student=smollm2. The result is reused
by runs with equal settings of distillation. An interrupted distillation continues with --resume=auto.

The table shows the F1 of key phrases next to its chance level: the same phrases scored against those of other
items.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.options import add_run_arguments, parse_run
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.registry import find_method, methods

if TYPE_CHECKING:
    from recbole_clickprompt.methods.base import Method

__all__ = ["add_arguments", "execute"]

_STAGE = "distill"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's flags."""
    add_run_arguments(parser)


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Trains the stage or finds its result, and prints losses and F1.

    Raises:
        SettingError: A setting is invalid, or the method has no such stage.
        DataError: The data set or the answers cannot be used.
        WeightsError: A language model cannot be loaded.
        TrainingError: Training diverges.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_logger, init_seed

    from recbole_clickprompt.preprocessing.encoding import Encoding
    from recbole_clickprompt.trainer.stages import run_stage
    from recbole_clickprompt.trainer.warm_start import find_warm_start

    default = next((method.name for method in methods() if _stage_of(method)), None)
    described = parse_run(options, settings, model=default)
    stage = _stage_of(find_method(described.model))
    if stage is None:
        raise SettingError(f"{described.model} has no stage {_STAGE}; leave out --model")
    chosen = {**described.settings, "train_stage": _STAGE}
    config = Config(described.model, described.dataset, described.config_files, chosen)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))

    def report(epoch: int, metrics: dict[str, float]) -> None:
        print(f"epoch {epoch}: " + ", ".join(f"{_words(name)} {value:.4f}" for name, value in metrics.items()))

    path = run_stage(
        stage, config, train_data, valid_data, allowed=(_STAGE,), show_progress=config["show_progress"],
        report=report, warm_start=find_warm_start(config, Encoding.of(train_data._dataset)),
    )  # fmt: skip
    print(
        f"\n{stage.summary(config, stage.training_rows(config, train_data, valid_data), path)}\n\nstudent: {path}"
    )


def _stage_of(method: Method) -> Any:
    """The stage of a method, a ``PretrainingStage`` and an ``ExampleStage``; None if it has none."""
    from recbole_clickprompt.trainer.protocols import ExampleStage

    return next((s for s in method.stages if s.name == _STAGE and isinstance(s, ExampleStage)), None)


def _words(metric: str) -> str:
    return metric.removeprefix(f"{_STAGE}_").replace("_", " ")

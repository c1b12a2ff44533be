"""Checks ``warm_start`` before any data is read, and takes from the saved run what the data set depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.evaluation.run_folder import checkpoint_of
from recbole_clickprompt.methods.registry import find_method, method_names
from recbole_clickprompt.trainer.protocols import ReadsLastStage
from recbole_clickprompt.trainer.warm_start_file import FINETUNE, SavedRun, check_same_meaning, read_saved_run

if TYPE_CHECKING:
    from recbole.config import Config

__all__ = ["begin_warm_start"]


def begin_warm_start(config: Config) -> None:
    """Checks that a run can continue from the checkpoint of ``warm_start``, if there is one.

    Sets ``warm_start`` to the path of the file, ``number_scales`` to the scales of the saved run's numbers, and
    settings that the saved model derived from its data; see ``Method.sizes_from``.

    Raises:
        WeightsError: The file is missing, damaged, or of another kind.
        SettingError: The saved run is of another method, or settings contradict each other.
    """
    if config["warm_start"] is None or config["model"] not in method_names():
        return
    given = Path(config["warm_start"])
    file = checkpoint_of(given)
    saved = read_saved_run(file if file.is_file() else given)
    method = find_method(config["model"])
    if saved.stage == FINETUNE:
        _check_finetuned(config, saved)
    else:
        _check_stage(config, saved)
    check_same_meaning(saved, config)
    config["warm_start"] = str(saved.path)
    if saved.encoding is not None:
        config["number_scales"] = dict(saved.encoding.numbers)
    for name, value in method.sizes_from(config, saved.weights).items():
        config[name] = value


def _check_finetuned(config: Config, saved: SavedRun) -> None:
    """A finetuned model contains the results of its earlier stages, which are not run again."""
    method, model = find_method(config["model"]), saved.settings.get("model")
    if model not in method_names():
        raise WeightsError(
            f"warm_start: {saved.path} is a checkpoint of RecBole's model {str(model)[:60]!r}, which RecBole's "
            f"trainer wrote; expected a run of {method.name}; train the model with recbole-cp run"
        )
    if model != method.name:
        raise SettingError(
            f"warm_start: {saved.path} is a run of the method {model}, and this is one of {method.name}; set "
            "model to the saved method, or train without warm_start"
        )
    if config["train_stage"] not in ("all", FINETUNE):
        raise SettingError(
            f"train_stage: {config['train_stage']} cannot start from {saved.path}, a finetuned model; name the "
            "result of that stage (.safetensors) in warm_start, or set train_stage to finetune"
        )
    if config["pre_model_path"] and not issubclass(method.model_class(), ReadsLastStage):
        raise SettingError(
            f"pre_model_path has no effect with warm_start: {saved.path}, which has all weights; leave it out"
        )
    method.check({**config.final_config_dict, "train_stage": FINETUNE, "warm_start": None})


def _check_stage(config: Config, saved: SavedRun) -> None:
    """The result of a stage is continued by that stage; with ``train_stage: finetune``, by finetuning."""
    method = find_method(config["model"])
    names = [stage.name for stage in method.stages]
    if saved.stage not in names:
        known = f"whose stages are {', '.join(names)}" if names else "which has no stage before finetuning"
        raise SettingError(
            f"warm_start: {saved.path} is the result of a stage {saved.stage} of another method than "
            f"{method.name}, {known}; set model to its method"
        )
    wanted = config["train_stage"]
    if wanted in names and names.index(wanted) < names.index(saved.stage):
        raise SettingError(
            f"train_stage: {wanted} comes before the stage {saved.stage}, whose result {saved.path} is; set "
            f"train_stage to all or {saved.stage}"
        )
    if config["pre_model_path"]:
        raise SettingError(
            "pre_model_path and warm_start both name the result of a stage; leave pre_model_path out"
        )
    if config["warm_start_optimizer"] == "restored":
        raise SettingError(
            "warm_start_optimizer: restored needs the state of an optimizer, which the result of a stage before "
            f"finetuning, {saved.path}, does not have; set it to fresh"
        )

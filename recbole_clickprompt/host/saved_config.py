"""RecBole's config out of a checkpoint: checked value by value, as anybody may have written the file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.evaluator.register import metric_types
from recbole.utils import get_model

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.host.properties import load_properties
from recbole_clickprompt.methods.registry import method_names
from recbole_clickprompt.settings.old_names import DROPPED, settings_of_saved_run
from recbole_clickprompt.settings.registry import declared
from recbole_clickprompt.trainer.checkpoint import read_model

__all__ = ["is_from_checkpoint", "read_run", "rebuild_config"]

# RecBole unpickles the files that these name, or writes them
_PICKLES = ("dataset_save_path", "dataloaders_save_path", "save_dataset", "save_dataloaders")
# Names that RecBole makes file names of
_FILE_NAMES = ("dataset", "benchmark_filename", "additional_feat_suffix", "load_col", "unload_col", "unused_col")
_TEXTS = ("data_path", "USER_ID_FIELD", "ITEM_ID_FIELD", "LABEL_FIELD", "TIME_FIELD", "RATING_FIELD")
# Of the processes and the machine that trained
_OF_THE_MACHINE = ("world_size", "nproc", "ip", "port", "local_rank", "offset", "single_spec", "device", "gpu_id")


def read_run(path: Path, models: Collection[str]) -> tuple[Config, dict[str, Any]]:
    """A finetuned model's file: its config, and all else that is in it, on the CPU.

    Args:
        path: The ``.pth`` file.
        models: Names of the models that it may be of.

    Raises:
        WeightsError: It is missing, damaged, of another model, or holds a setting that cannot be.
    """
    checkpoint = read_model(path)
    return rebuild_config(checkpoint["config"], path, models), checkpoint


def rebuild_config(saved: Mapping[str, Any], path: Path, models: Collection[str]) -> Config:
    """RecBole's config of a run, made of plain values and without its constructor, which evaluates texts as code.

    Settings that an earlier version did not have get their defaults, those that it called otherwise their names of
    today, and those that are gone are left out. Files are read and written beside the
    checkpoint, never where the file says, except for the data set's folder, which is only read.

    Args:
        saved: The settings in the checkpoint.
        path: The checkpoint.
        models: Names of the models that it may be of.

    Raises:
        WeightsError: A value cannot be; names the file and the setting.
    """
    model = saved.get("model")
    if not isinstance(model, str) or model not in models:
        raise WeightsError(f"{path} is a checkpoint of the model {model!r}; expected {' or '.join(models)}")
    for key in _PICKLES:
        if saved.get(key):
            raise _refusal(path, key, saved[key], "nothing: it names a file that would be unpickled")
    for key in _FILE_NAMES:
        if not all(map(_is_file_name, _names(saved.get(key)))):
            raise _refusal(path, key, saved[key], "names without a path")
    for key in _TEXTS:
        if not isinstance(saved.get(key), str):
            raise _refusal(path, key, saved.get(key), "a text")
    values = dict(saved)
    if model in method_names():  # RecBole never checks the settings of its own
        values = {**_defaults(model, saved, path), **settings_of_saved_run(saved)}
        for key in DROPPED:
            values.pop(key, None)
        for key, setting in declared().items():
            if key in values and not setting.accepts(values[key]):
                raise _refusal(path, key, values[key], setting.expected)
    for key in _OF_THE_MACHINE:
        values.pop(key, None)
    values |= {"checkpoint_dir": str(path.parent), "gpu_id": "", "device": torch.device("cpu")}
    values |= {"single_spec": True, "local_rank": 0, "log_wandb": False}
    return _config(values, path)


def is_from_checkpoint(config: Config) -> bool:
    """Whether ``rebuild_config`` made it."""
    return bool(config.__dict__.get("from_checkpoint"))


def _config(values: dict[str, Any], path: Path) -> Config:
    model_class = get_model(values["model"])
    try:
        (eval_type,) = {metric_types[metric.lower()] for metric in values["metrics"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refusal(
            path, "metrics", values.get("metrics"), "metrics that RecBole knows, of one kind"
        ) from error
    values |= {"MODEL_TYPE": model_class.type, "MODEL_INPUT_TYPE": model_class.input_type, "eval_type": eval_type}
    config = Config.__new__(Config)
    config._init_parameters_category()
    config.model, config.dataset, config.model_class = values["model"], values["dataset"], None
    config.final_config_dict = values
    config.from_checkpoint = True
    return config


def _defaults(model: str, saved: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        return load_properties(model=model, dataset="", external=saved)
    except SettingError as error:
        raise WeightsError(f"{path}: its config cannot be completed: {error}") from error


def _names(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | dict) else [value]


def _is_file_name(name: Any) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[^/\\\0]+", name) is not None and name not in (".", "..")


def _refusal(path: Path, key: str, value: Any, expected: str) -> WeightsError:
    shown = repr(value)
    shown = shown if len(shown) < 80 else f"{shown[:80]}..."
    return WeightsError(
        f"{path}: the setting {key} in it is {shown}, expected {expected}; the file was changed, or written by "
        "another version"
    )

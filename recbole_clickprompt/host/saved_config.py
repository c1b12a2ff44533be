"""Rebuilds RecBole's config from a checkpoint, which is untrusted, so every value is checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import recbole
import torch
from recbole.config import Config
from recbole.evaluator.register import metric_types
from recbole.utils import get_model

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.host.properties import load_properties, read_yaml
from recbole_clickprompt.methods.registry import method_names
from recbole_clickprompt.plm.weights import kept_plm
from recbole_clickprompt.settings.old_names import DROPPED, settings_of_saved_run
from recbole_clickprompt.settings.registry import declared
from recbole_clickprompt.trainer.group_metrics import metrics_of_recbole

__all__ = ["is_from_checkpoint", "rebuild_config", "setting_error"]

# RecBole unpickles or writes the files that these settings name
_PICKLES = ("dataset_save_path", "dataloaders_save_path", "save_dataset", "save_dataloaders")
# Settings that RecBole uses as parts of file names
_FILE_NAMES = ("dataset", "benchmark_filename", "additional_feat_suffix", "load_col", "unload_col", "unused_col")
_LONGEST_NAME = 1000  # characters
_TEXTS = ("data_path", "USER_ID_FIELD", "ITEM_ID_FIELD", "LABEL_FIELD", "TIME_FIELD", "RATING_FIELD")
# RecBole's sampling settings for ``mode: labeled``
_NO_SAMPLING = {
    "distribution": "none",
    "sample_num": "none",
    "alpha": "none",
    "dynamic": False,
    "candidate_num": 0,
}
_LANGUAGE_MODELS = ("plm", "student")  # settings that name one
# Settings of the processes and the machine that trained the model
_MACHINE_SETTINGS = (
    "world_size", "nproc", "ip", "port", "local_rank", "offset", "single_spec", "device", "gpu_id",
)  # fmt: skip


def rebuild_config(saved: Mapping[str, Any], path: Path, models: Collection[str]) -> Config:
    """Builds RecBole's config from plain values, without its constructor, which evaluates strings as code.

    Settings that an earlier version did not have get their defaults, renamed settings their current names, and
    removed settings are dropped. Files are read and written next to the checkpoint, not at saved paths. The only
    exception is the data set's folder, from which files are only read.

    Args:
        saved: The settings in the checkpoint.
        path: The checkpoint.
        models: Names of the accepted models.

    Raises:
        WeightsError: A value is invalid; names the file and the setting.
    """
    for key, value in saved.items():
        if not _is_plain(value):
            raise setting_error(path, key, value, "numbers, strings, and lists or mappings of them")
    model = saved.get("model")
    if not isinstance(model, str) or model not in models:
        raise WeightsError(
            f"{path} is a checkpoint of the model {str(model)[:80]!r}; expected {' or '.join(models)}"
        )
    for key in (*_PICKLES, "preload_weight"):
        if saved.get(key):
            raise setting_error(path, key, saved[key], "no value: it names a file that would be read")
    for key in ("dataset", *_TEXTS):
        if not isinstance(saved.get(key), str) or not 0 < len(saved[key]) < _LONGEST_NAME:
            raise setting_error(path, key, saved.get(key), "a string")
    for key in _FILE_NAMES:
        if not all(map(_is_file_name, _names(saved.get(key)))):
            raise setting_error(path, key, saved[key], "names without a path")
    values = dict(saved)
    if model in method_names():  # only for these; RecBole does not check the settings of its own models
        settings = declared()
        if not settings["backbone"].accepts(saved.get("backbone")):
            raise setting_error(path, "backbone", saved.get("backbone"), settings["backbone"].expected)
        values = {**_defaults(model, saved, path), **settings_of_saved_run(saved)}
        for key in DROPPED:
            values.pop(key, None)
        values["eval_args"] = _evaluation(values["eval_args"])
        for key, setting in settings.items():
            if key in values and key not in _MACHINE_SETTINGS and not setting.accepts(values[key]):
                raise setting_error(path, key, values[key], setting.expected)
        _check_lora(values.get("plm_lora"), path)
        try:
            values |= {key: kept_plm(values[key]) for key in _LANGUAGE_MODELS if key in values}
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error
        values |= {f"{part}_neg_sample_args": dict(_NO_SAMPLING) for part in ("train", "valid", "test")}
    for key in _MACHINE_SETTINGS:
        values.pop(key, None)
    values |= {"checkpoint_dir": str(path.parent), "gpu_id": "", "device": torch.device("cpu")}
    values |= {"single_spec": True, "local_rank": 0, "log_wandb": False}
    return _config(values, path)


def is_from_checkpoint(config: Config) -> bool:
    """Whether the config was built by ``rebuild_config``."""
    return bool(config.__dict__.get("from_checkpoint"))


def setting_error(path: Path, key: str, value: object, expected: str) -> WeightsError:
    """The error for an invalid setting in a checkpoint."""
    shown = repr(value if type(value) is not int or abs(value) < 10**60 else "a number of more than 60 digits")
    shown = shown if len(shown) < 80 else f"{shown[:80]}..."
    return WeightsError(
        f"{path}: the setting {key} in it is {shown}, expected {expected}; the file was modified, or written by "
        "another version"
    )


def _config(values: dict[str, Any], path: Path) -> Config:
    model_class = get_model(values["model"])
    try:
        metrics = metrics_of_recbole(values["metrics"]) if values["model"] in method_names() else values["metrics"]
        (eval_type,) = {metric_types[metric.lower()] for metric in metrics or ["AUC"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise setting_error(
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
    folder = Path(recbole.__file__).parent / "properties"
    files = ("overall.yaml", "dataset/sample.yaml", "quick_start_config/context-aware.yaml")
    try:
        host = {key: value for name in files for key, value in read_yaml(folder / name).items()}
        return {**host, **load_properties(model=model, dataset="", external={"backbone": saved["backbone"]})}
    except SettingError as error:
        raise WeightsError(f"{path}: its config cannot be completed: {error}") from error


def _evaluation(value: Any) -> Any:
    """``eval_args`` with a mode for each part, as in RecBole's config."""
    mode = value.get("mode") if isinstance(value, dict) else None
    return {**value, "mode": {"valid": mode, "test": mode}} if isinstance(mode, str) else value


def _check_lora(settings: Mapping[str, Any] | None, path: Path) -> None:
    # PEFT uses a string as a regular expression, and a malicious one can take exponential time to match, but not
    # without groups and with few stars
    targets = (settings or {}).get("target_modules", [])
    if isinstance(targets, str) and (not re.fullmatch(r"[\w.*|-]+", targets) or targets.count("*") > 3):
        expected = (
            "target_modules to be a list of names, or an expression of names, dots, | and at most three stars"
        )
        raise setting_error(path, "plm_lora", settings, expected)


def _is_plain(value: object) -> bool:
    # Cycles and deep nesting were rejected when the file was read
    if isinstance(value, dict):
        return all(map(_is_plain, value.keys())) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _names(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | dict) else [value]


def _is_file_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) < 200
        and re.fullmatch(r"[^/\\\0]+", name) is not None
        and name not in (".", "..")
    )

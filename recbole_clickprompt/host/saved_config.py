"""RecBole's config out of a checkpoint: checked value by value, as anybody may have written the file."""

from __future__ import annotations

import itertools
import math
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
from recbole_clickprompt.trainer.checkpoint import read_model

__all__ = ["build_model", "check_sizes", "is_from_checkpoint", "read_run", "rebuild_config"]

# RecBole unpickles the files that these name, or writes them
_PICKLES = ("dataset_save_path", "dataloaders_save_path", "save_dataset", "save_dataloaders")
# Names that RecBole makes file names of
_FILE_NAMES = ("dataset", "benchmark_filename", "additional_feat_suffix", "load_col", "unload_col", "unused_col")
_LONGEST_NAME = 1000  # characters
_TEXTS = ("data_path", "USER_ID_FIELD", "ITEM_ID_FIELD", "LABEL_FIELD", "TIME_FIELD", "RATING_FIELD")
# What RecBole makes of ``mode: labeled``
_NO_SAMPLING = {
    "distribution": "none",
    "sample_num": "none",
    "alpha": "none",
    "dynamic": False,
    "candidate_num": 0,
}
# Settings that are sizes of layers; so large is any network here, so many layers has none
_WIDTHS = (
    "embedding_size", "mlp_hidden_size", "attention_size", "cin_layer_size", "low_rank", "num_prompts", "n_layers",
    "num_heads", "cross_layer_num", "expert_num", "order_list", "t_depth", "depth", "conv_channels",
    "recombined_channels", "mlp1_hidden_size", "mlp2_hidden_size", "gate_hidden_size", "num_blocks", "block_size",
    "num_fm", "num_linear", "fm_hidden_size", "reduction_ratio",
)  # fmt: skip
# What is wider must be seen in the weights; spare numbers are for settings that the model does not read
_MOST_WIDTH, _MOST_LAYERS, _SPARE_NUMBERS = 1024, 64, 50_000_000
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
    config = rebuild_config(checkpoint["config"], path, models)
    check_sizes(config, checkpoint["state_dict"], path)
    return config, checkpoint


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
    for key, value in saved.items():
        if not _is_plain(value):
            raise _refusal(path, key, value, "numbers, texts, and lists or mappings of them")
    model = saved.get("model")
    if not isinstance(model, str) or model not in models:
        raise WeightsError(
            f"{path} is a checkpoint of the model {str(model)[:80]!r}; expected {' or '.join(models)}"
        )
    for key in (*_PICKLES, "preload_weight"):
        if saved.get(key):
            raise _refusal(path, key, saved[key], "nothing: it names a file that would be read")
    for key in ("dataset", *_TEXTS):
        if not isinstance(saved.get(key), str) or not 0 < len(saved[key]) < _LONGEST_NAME:
            raise _refusal(path, key, saved.get(key), "a text")
    for key in _FILE_NAMES:
        if not all(map(_is_file_name, _names(saved.get(key)))):
            raise _refusal(path, key, saved[key], "names without a path")
    values = dict(saved)
    if model in method_names():  # RecBole never checks the settings of its own
        settings = declared()
        if not settings["backbone"].accepts(saved.get("backbone")):
            raise _refusal(path, "backbone", saved.get("backbone"), settings["backbone"].expected)
        values = {**_defaults(model, saved, path), **settings_of_saved_run(saved)}
        for key in DROPPED:
            values.pop(key, None)
        values["eval_args"] = _evaluation(values["eval_args"])
        for key, setting in settings.items():
            if key in values and not setting.accepts(values[key]):
                raise _refusal(path, key, values[key], setting.expected)
        _check_lora(values.get("plm_lora"), path)
        try:
            values["plm"] = kept_plm(values["plm"])
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error
        values |= {f"{part}_neg_sample_args": dict(_NO_SAMPLING) for part in ("train", "valid", "test")}
    for key in _OF_THE_MACHINE:
        values.pop(key, None)
    values |= {"checkpoint_dir": str(path.parent), "gpu_id": "", "device": torch.device("cpu")}
    values |= {"single_spec": True, "local_rank": 0, "log_wandb": False}
    return _config(values, path)


def check_sizes(config: Config, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuses a model that is wider than its weights, before it is built and fills the memory.

    Args:
        config: Of the checkpoint.
        weights: Its ``state_dict``.
        path: The checkpoint.

    Raises:
        WeightsError: A setting is far larger than any layer that was saved.
    """
    widest = max([_MOST_WIDTH, *(min(weight.shape, default=1) for weight in weights.values())])
    held = sum(weight.numel() for weight in weights.values())
    for key in _WIDTHS:
        value = config[key]
        widths = value if isinstance(value, list | tuple) else [value]
        numbers = [width for width in widths if isinstance(width, int | float)]
        connected = sum(math.prod(pair) for pair in itertools.pairwise(numbers))  # of a stack of dense layers
        if (
            len(widths) > max(_MOST_LAYERS, len(weights))
            or any(number > widest for number in numbers)
            or connected > 2 * held + _SPARE_NUMBERS
        ):
            raise _refusal(
                path, key, value, f"a size of the weights that were saved, which are at most {widest} wide"
            )


def is_from_checkpoint(config: Config) -> bool:
    """Whether ``rebuild_config`` made it."""
    return bool(config.__dict__.get("from_checkpoint"))


def build_model(config: Config, dataset: Any, path: Path) -> Any:
    """The model of a checkpoint, newly initialized.

    Args:
        config: What ``read_run`` gave.
        dataset: RecBole's, or what takes its place.
        path: The checkpoint.

    Raises:
        WeightsError: The memory does not suffice, or its settings exclude one another.
    """
    try:
        return get_model(config["model"])(config, dataset)
    except (MemoryError, RuntimeError) as error:
        raise WeightsError(f"{path}: its model cannot be built: {' '.join(str(error).split())[:200]}") from error


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
    folder = Path(recbole.__file__).parent / "properties"
    theirs = ("overall.yaml", "dataset/sample.yaml", "quick_start_config/context-aware.yaml")
    try:
        host = {key: value for name in theirs for key, value in read_yaml(folder / name).items()}
        return {**host, **load_properties(model=model, dataset="", external={"backbone": saved["backbone"]})}
    except SettingError as error:
        raise WeightsError(f"{path}: its config cannot be completed: {error}") from error


def _evaluation(value: Any) -> Any:
    """``eval_args`` with a mode for each part, as RecBole's config has it."""
    mode = value.get("mode") if isinstance(value, dict) else None
    return {**value, "mode": {"valid": mode, "test": mode}} if isinstance(mode, str) else value


def _check_lora(settings: Any, path: Path) -> None:
    # A text is a regular expression to PEFT, and one made for it takes forever to match; without groups and with
    # few stars it cannot
    targets = (settings or {}).get("target_modules", [])
    if isinstance(targets, str) and (not re.fullmatch(r"[\w.*|-]+", targets) or targets.count("*") > 3):
        expected = (
            "target_modules to be a list of names, or an expression of names, dots, | and at most three stars"
        )
        raise _refusal(path, "plm_lora", settings, expected)


def _is_plain(value: Any) -> bool:
    # The file has been checked to hold no cycles and no deep nesting
    if isinstance(value, dict):
        return all(map(_is_plain, value.keys())) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _names(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | dict) else [value]


def _is_file_name(name: Any) -> bool:
    return (
        isinstance(name, str)
        and len(name) < 200
        and re.fullmatch(r"[^/\\\0]+", name) is not None
        and name not in (".", "..")
    )


def _refusal(path: Path, key: str, value: Any, expected: str) -> WeightsError:
    shown = repr(value if type(value) is not int or abs(value) < 10**60 else "a number of more than 60 digits")
    shown = shown if len(shown) < 80 else f"{shown[:80]}..."
    return WeightsError(
        f"{path}: the setting {key} in it is {shown}, expected {expected}; the file was changed, or written by "
        "another version"
    )

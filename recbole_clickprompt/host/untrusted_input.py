"""Closes the doors through which RecBole would run what files and values from elsewhere hold.

RecBole ``eval``s every text of the command line and of ``config_dict``, and unpickles data sets and loaders that
lie in the checkpoint folder. For our models texts are read as plain values and such files are refused.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import recbole.data
import recbole.data.utils
import yaml
from recbole.config import Config

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.properties import TEXT_SETTINGS, parse_yaml, read_yaml
from recbole_clickprompt.host.saved_config import is_from_checkpoint
from recbole_clickprompt.methods.registry import method_names

__all__ = ["install_safety_patches", "parse_literal", "reject_pickles"]


def parse_literal(text: str, setting: str = "") -> Any:
    """The value that a text stands for, as RecBole would have it, and never by running it.

    Python's literals (``1e-3``, ``[64, 64]``, ``None``, ``'text'``), true and false in any case, and YAML in
    brackets (``[AUC, LogLoss]``, ``{a: 1}``); all else stays a text.

    Args:
        text: Of a command line or ``config_dict``.
        setting: What it is the value of; what ``value_labels`` holds stays text.
    """
    if setting in TEXT_SETTINGS:
        try:
            return parse_yaml(text, setting)
        except yaml.YAMLError:
            return text
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    else:
        return value if isinstance(value, str | int | float | list | tuple | dict | None) else text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.startswith(("[", "{")):
        try:
            return parse_yaml(text)
        except yaml.YAMLError:
            pass
    return text


def reject_pickles(config: Any) -> None:
    """Refuses the files that RecBole would unpickle for this config.

    Raises:
        DataError: One is there, or the config asks for it; names it.
    """
    folder, dataset, model = Path(config["checkpoint_dir"]), config["dataset"], config["model"]
    asked = [Path(config[key]) for key in ("dataset_save_path", "dataloaders_save_path") if config[key]]
    kind = "TextDataset" if model in method_names() else "Dataset"
    usual = [folder / f"{dataset}-{kind}.pth", folder / f"{dataset}-for-{model}-dataloader.pth"]
    for path in [*asked, *(path for path in usual if path.exists())]:
        raise DataError(
            f"{path} would be unpickled, which runs whatever is in it; for {model} move it away and leave out "
            "save_dataset, save_dataloaders, dataset_save_path and dataloaders_save_path: data is read anew"
        )


def install_safety_patches() -> None:
    """Wraps RecBole's config and data functions; for other models than those of methods nothing changes."""
    _wrap_values()
    _wrap_files()
    _wrap_pickles("create_dataset")
    _wrap_pickles("load_split_dataloaders")


def _wrap_values() -> None:
    begin, convert = Config.__init__, Config._convert_config_dict

    @functools.wraps(begin)
    def begin_ours(
        self: Config,
        model: Any = None,
        dataset: Any = None,
        config_file_list: Any = None,
        config_dict: Any = None,
    ) -> None:
        self._model_asked_for = model
        begin(self, model, dataset, config_file_list, config_dict)
        del self._model_asked_for
        if self.model in method_names():
            reject_pickles(self)

    @functools.wraps(convert)
    def convert_plainly(self: Config, config_dict: dict[str, Any]) -> dict[str, Any]:
        if _model_of(self, config_dict) not in method_names():
            return convert(self, config_dict)
        for key, value in config_dict.items():
            if isinstance(value, str):
                config_dict[key] = parse_literal(value, key)
        return config_dict

    Config.__init__ = begin_ours
    Config._convert_config_dict = convert_plainly


def _model_of(config: Config, config_dict: Mapping[str, Any]) -> Any:
    # By RecBole's precedence. It comes to this point with the values of one source at a time.
    flags = [argument.removeprefix("--model=") for argument in sys.argv[1:] if argument.startswith("--model=")]
    sources = [config_dict, getattr(config, "variable_config_dict", {}), config.file_config_dict]
    asked = [config._model_asked_for, *flags, *(source.get("model") for source in sources)]
    model = next((model for model in asked if model), None)
    return model if isinstance(model, str | None) else model.__name__


def _wrap_files() -> None:
    @functools.wraps(Config._load_config_files)
    def load_by_name(self: Config, file_list: list[str] | None) -> dict[str, Any]:
        # RecBole's YAML makes False of the code NO, and takes cycles, repeated keys and any size
        merged: dict[str, Any] = {}
        for file in file_list or ():
            merged.update(read_yaml(Path(file)))
        return merged

    Config._load_config_files = load_by_name


def _wrap_pickles(name: str) -> None:
    original: Callable[[Any], Any] = getattr(recbole.data.utils, name)

    @functools.wraps(original)
    def guarded(config: Any) -> Any:
        if config["model"] in method_names() or is_from_checkpoint(config):
            reject_pickles(config)
        return original(config)

    # Modules of RecBole hold it under its name each
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "recbole" and getattr(module, name, None) is original:
            setattr(module, name, guarded)

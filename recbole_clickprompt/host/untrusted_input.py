"""Disables the places where RecBole evaluates or unpickles untrusted input.

RecBole calls ``eval`` on every string of the command line and ``config_dict``, and unpickles data sets and loaders
found in the checkpoint folder. For the models of this package, strings are parsed as plain values and such files
are rejected.
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
    """Parses a setting like RecBole, but without evaluating it as code.

    Accepts Python literals (``1e-3``, ``[64, 64]``, ``None``, ``'text'``), true and false in any case, and YAML
    lists and mappings (``[AUC, LogLoss]``, ``{a: 1}``). Anything else is a string.

    Args:
        text: A value from the command line or ``config_dict``.
        setting: The name of its setting; all scalars in ``value_labels`` are strings.
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


def reject_pickles(config: Config) -> None:
    """Rejects files that RecBole would unpickle for this config.

    Raises:
        DataError: Such a file exists, or the config names one.
    """
    folder, dataset, model = Path(config["checkpoint_dir"]), config["dataset"], config["model"]
    named = [Path(config[key]) for key in ("dataset_save_path", "dataloaders_save_path") if config[key]]
    kind = "TextDataset" if model in method_names() else "Dataset"
    default = [folder / f"{dataset}-{kind}.pth", folder / f"{dataset}-for-{model}-dataloader.pth"]
    for path in [*named, *(path for path in default if path.exists())]:
        raise DataError(
            f"{path} would be unpickled, which executes any code in it; for {model} move it away and leave out "
            "save_dataset, save_dataloaders, dataset_save_path and dataloaders_save_path; the data is read again"
        )


def install_safety_patches() -> None:
    """Wraps RecBole's config and data functions; models of other packages are not affected."""
    _wrap_values()
    _wrap_files()
    _wrap_pickles("create_dataset")
    _wrap_pickles("load_split_dataloaders")


def _wrap_values() -> None:
    init, convert = Config.__init__, Config._convert_config_dict

    @functools.wraps(init)
    def init_safely(
        self: Config,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: dict[str, Any] | None = None,
    ) -> None:
        self._model_argument = model
        init(self, model, dataset, config_file_list, config_dict)
        del self._model_argument
        if self.model in method_names():
            reject_pickles(self)

    @functools.wraps(convert)
    def convert_safely(self: Config, config_dict: dict[str, Any]) -> dict[str, Any]:
        if _model_of(self, config_dict) not in method_names():
            return convert(self, config_dict)
        for key, value in config_dict.items():
            if isinstance(value, str):
                config_dict[key] = parse_literal(value, key)
        return config_dict

    Config.__init__ = init_safely
    Config._convert_config_dict = convert_safely


def _model_of(config: Config, config_dict: Mapping[str, Any]) -> str | None:
    # In RecBole's order of precedence. RecBole converts the values of one source at a time.
    flags = [argument.removeprefix("--model=") for argument in sys.argv[1:] if argument.startswith("--model=")]
    sources = [config_dict, getattr(config, "variable_config_dict", {}), config.file_config_dict]
    named = [config._model_argument, *flags, *(source.get("model") for source in sources)]
    model = next((model for model in named if model), None)
    return model if isinstance(model, str | None) else model.__name__


def _wrap_files() -> None:
    @functools.wraps(Config._load_config_files)
    def load_by_name(self: Config, file_list: list[str] | None) -> dict[str, Any]:
        # RecBole's YAML loader reads the code NO as False, and accepts cycles, repeated keys and any size
        merged: dict[str, Any] = {}
        for file in file_list or ():
            merged.update(read_yaml(Path(file)))
        return merged

    Config._load_config_files = load_by_name


def _wrap_pickles(name: str) -> None:
    original: Callable[[Config], Any] = getattr(recbole.data.utils, name)

    @functools.wraps(original)
    def guarded(config: Config) -> Any:
        if config["model"] in method_names() or is_from_checkpoint(config):
            reject_pickles(config)
        return original(config)

    # Several modules of RecBole import the function by name
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "recbole" and getattr(module, name, None) is original:
            setattr(module, name, guarded)

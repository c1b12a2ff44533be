"""The run that a command line describes."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.properties import find_file, parse_yaml, read_yaml
from recbole_clickprompt.methods.registry import resolve_name

__all__ = [
    "Run",
    "add_run_arguments",
    "check_names",
    "dataset_name",
    "parse_run",
    "parse_settings",
    "refuse_keys",
]

_EMPTY = "gpu_id"  # RecBole reads an empty one as the CPU


class Run(NamedTuple):
    """A run as the command line and its property files describe it: the arguments of ``run_recbole``, in order."""

    model: str
    dataset: str
    config_files: list[str]
    settings: dict[str, Any]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's ``--model --dataset --config_files``."""
    parser.add_argument(
        "--model", "-m", help="a method, or a backbone to train alone (default: from your property files)"
    )
    parser.add_argument("--dataset", "-d", help="default: from your property files, else ml-100k")
    parser.add_argument(
        "--config_files", default="", help="your property files, or names of shipped ones, separated by spaces"
    )


def parse_run(options: argparse.Namespace, arguments: Sequence[str], *, model: str | None = None) -> Run:
    """The run to execute; the name of a backbone stands for the plain backbone.

    Args:
        options: Values of the arguments of ``add_run_arguments``.
        arguments: ``--key=value`` settings.
        model: The model if none is given; None for the default method.

    Raises:
        SettingError: A property file is missing or not a mapping, a setting is not ``--key=value`` or is given
            twice, or the model is unknown.
    """
    files = [find_file(name, "config file") for name in options.config_files.split()]
    in_files: dict[str, Any] = {}
    for file in files:
        in_files.update(read_yaml(file))
    model, implied = resolve_name(in_files.get("model", model) if options.model is None else options.model)
    dataset = dataset_name(in_files.get("dataset", "ml-100k") if options.dataset is None else options.dataset)
    return Run(model, dataset, [str(file) for file in files], {**implied, **parse_settings(arguments)})


def dataset_name(name: Any) -> str:
    """The name of a data set, which is that of a folder too; YAML makes a number of some.

    Raises:
        SettingError: It is empty, longer than file names are, or a path.
    """
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise SettingError(f"dataset must be a name, got {name!r}")
    text = str(name)
    if not text.strip() or len(text) > 200 or "/" in text or "\0" in text or text in (".", ".."):
        raise SettingError(
            "dataset must be the name of a data set, of at most 200 characters and without a path, got "
            f"{text[:60]!r}; data_path is the folder that it is in"
        )
    return text


def check_names(*sources: Mapping[Any, Any], where: str) -> None:
    """Raises SettingError where the name of a setting in a file is no text, such as a number."""
    for name in (name for source in sources for name in source):
        if not isinstance(name, str):
            raise SettingError(f"{where}: {name!r} is no name of a setting")


def refuse_keys(given: Mapping[str, Any], keys: Collection[str], command: str) -> None:
    """Raises SettingError where the command line has a key that only the file of a grid or search may have."""
    if key := next((name for name in given if name in keys), None):
        raise SettingError(f"--{key}: only a .yaml file can set {key}; see `recbole-cp {command} --help`")


def parse_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """``--key=value`` arguments, their values read as YAML.

    Raises:
        SettingError: An argument is not ``--key=value``, has no value, or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise SettingError(f"{argument!r} is not a setting; write --key=value")
        if key in settings:
            raise SettingError(f"--{key} is given twice")
        if not value.strip() and key != _EMPTY:  # such as a path that a shell did not find
            raise SettingError(f"--{key}= has no value; write --{key}=~ for None, or leave it out")
        try:
            settings[key] = parse_yaml(value, key)
        except yaml.YAMLError as error:
            raise SettingError(f"--{key}={value}: {' '.join(str(error).split())}") from error
    return settings

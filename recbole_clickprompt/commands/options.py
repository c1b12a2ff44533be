"""The run that a command line describes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.check_settings import check_dataset_name
from recbole_clickprompt.host.properties import find_file
from recbole_clickprompt.host.yaml_files import parse_yaml, read_yaml
from recbole_clickprompt.methods.registry import resolve_name

__all__ = ["Run", "add_run_arguments", "parse_run", "parse_settings"]


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


def parse_run(options: argparse.Namespace, arguments: Sequence[str]) -> Run:
    """The run to execute; the name of a backbone stands for the plain backbone.

    Raises:
        SettingError: A property file is missing or not a mapping, a setting is not ``--key=value`` or is given
            twice, or the model is unknown.
    """
    files = [find_file(name, "config file") for name in options.config_files.split()]
    in_files: dict[str, Any] = {}
    for file in files:
        in_files.update(read_yaml(file))
    for name in ("model", "dataset"):
        value = getattr(options, name) if getattr(options, name) is not None else in_files.get(name)
        if value is not None and not str(value).strip():
            raise SettingError(f"{name} is empty; name a {name}, or leave it out for the default")
    model, implied = resolve_name(options.model or in_files.get("model"))
    dataset = str(options.dataset or in_files.get("dataset") or "ml-100k")
    check_dataset_name(dataset)
    return Run(model, dataset, [str(file) for file in files], {**implied, **parse_settings(arguments)})


def parse_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """``--key=value`` arguments, their values read as YAML.

    Raises:
        SettingError: An argument is not ``--key=value``, or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise SettingError(f"{argument!r} is not a setting; write --key=value")
        if key in settings:
            raise SettingError(f"--{key} is given twice")
        try:
            settings[key] = parse_yaml(value, key)
        except yaml.YAMLError as error:
            raise SettingError(f"--{key}={value[:80]}: {' '.join(str(error).split())[:300]}") from error
    return settings

"""What commands share: the run that the command line describes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.properties import find_file, parse_yaml, read_yaml
from recbole_clickprompt.methods.registry import resolve_name

__all__ = ["Run", "add_run_arguments", "parse_run", "parse_settings"]


class Run(NamedTuple):
    """A run as the command line and its property files describe it; in the order of ``run_recbole``."""

    model: str
    dataset: str
    config_files: list[str]
    settings: dict[str, Any]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's ``--model --dataset --config_files``."""
    parser.add_argument(
        "--model", "-m", help="a method, or a backbone to train alone (default: that of your property files)"
    )
    parser.add_argument("--dataset", "-d", help="default: that of your property files, or ml-100k")
    parser.add_argument(
        "--config_files", default="", help="your property files, or names of shipped ones, separated by blanks"
    )


def parse_run(options: argparse.Namespace, arguments: Sequence[str]) -> Run:
    """The run to do. A backbone's name stands for the plain backbone.

    Raises:
        SettingError: A property file is missing or no mapping, a setting is no ``--key=value`` or comes twice, or
            the model is unknown.
    """
    files = [find_file(name, "config file") for name in options.config_files.split()]
    in_files: dict[str, Any] = {}
    for file in files:
        in_files.update(read_yaml(file))
    model, implied = resolve_name(options.model or in_files.get("model"))
    dataset = str(options.dataset or in_files.get("dataset") or "ml-100k")
    return Run(model, dataset, [str(file) for file in files], {**implied, **parse_settings(arguments)})


def parse_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """``--key=value`` arguments, their values read as YAML.

    Raises:
        SettingError: Something is no ``--key=value``, or a key comes twice.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise SettingError(f"{argument!r} is no setting; write --key=value")
        if key in settings:
            raise SettingError(f"--{key} is given twice")
        try:
            settings[key] = parse_yaml(value, key)
        except yaml.YAMLError as error:
            raise SettingError(f"--{key}={value}: {' '.join(str(error).split())}") from error
    return settings

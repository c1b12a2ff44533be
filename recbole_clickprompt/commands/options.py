"""What commands share: the run that the command line describes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.properties import parse_yaml, read_yaml
from recbole_clickprompt.host.registration import MODELS
from recbole_clickprompt.model.backbone import BACKBONES

__all__ = ["add_run_arguments", "config_files", "model_and_settings", "parse_settings", "resolve_model"]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """RecBole's ``--model --dataset --config_files``."""
    parser.add_argument("--model", "-m", default="ClickPrompt", help="default: %(default)s")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="default: %(default)s")
    parser.add_argument("--config_files", default="", help="your property files, separated by blanks")


def config_files(options: argparse.Namespace) -> list[str]:
    """The user's property files.

    Raises:
        SettingError: One is missing or no mapping.
    """
    files = options.config_files.split()
    for file in files:
        if not Path(file).is_file():
            raise SettingError(f"--config_files: there is no file {file}")
        read_yaml(Path(file))
    return files


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
            settings[key] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise SettingError(f"--{key}={value}: {' '.join(str(error).split())}") from error
    return settings


def model_and_settings(model: str, arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The model class to run and its settings.

    A backbone's name stands for that backbone alone: ``ClickPromptNoPLM`` without pretraining.

    Raises:
        SettingError: As for ``parse_settings``, or the model is unknown.
    """
    model, implied = resolve_model(model)
    return model, {**implied, **parse_settings(arguments)}


def resolve_model(model: str) -> tuple[str, dict[str, Any]]:
    """The model class of a name and the settings that the name implies: none, or those of a plain backbone.

    Raises:
        SettingError: The name is unknown.
    """
    if model in BACKBONES:
        return "ClickPromptNoPLM", {"backbone": model, "train_stage": "finetune"}
    if model not in MODELS:
        known = [*MODELS, *BACKBONES]
        raise SettingError(f"model must be one of {', '.join(known)}, got {model!r}{nearest(model, known)}")
    return model, {}

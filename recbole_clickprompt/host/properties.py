"""Finds the property files of a run and merges them, lowest precedence first:
``overall.yaml``, ``model/<Model>.yaml``, ``backbone/<Backbone>.yaml``, ``dataset/<dataset>.yaml``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import yaml

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.plain_yaml import load_yaml
from recbole_clickprompt.settings.declaration import Elsewhere
from recbole_clickprompt.settings.old_names import use_new_names
from recbole_clickprompt.settings.registry import settings_of

__all__ = [
    "TEXT_SETTINGS",
    "find_file",
    "find_property_file",
    "load_properties",
    "parse_yaml",
    "property_folders",
    "read_yaml",
]

_PACKAGE = Path(__file__).resolve().parents[1]


# Settings whose keys and values stand for texts in the data: YAML would make False of NO and 7 of 007
TEXT_SETTINGS = ("value_labels", "value_words")  # the latter is its old name


def property_folders() -> list[Path]:
    """Where property files are looked for: ``./props`` of the working folder, then the ones we ship."""
    shipped = _PACKAGE / "props"  # inside a wheel
    if not shipped.is_dir():
        shipped = _PACKAGE.parent / "props"  # inside a checkout
    return [Path("props"), shipped]


def find_property_file(name: str) -> Path | None:
    """The first file called ``name``, such as ``dataset/ml-100k.yaml``, or None."""
    # Path.is_file raises for names that no file system takes
    return next((f / name for f in property_folders() if os.path.isfile(f / name)), None)


def find_file(name: str, what: str) -> Path:
    """A file that the user names by its path or, as ``evidence/ml-100k.yaml``, among the property files.

    Raises:
        SettingError: It is neither here nor there; calls it ``what``.
    """
    path = Path(name) if os.path.isfile(name) else find_property_file(name)
    if path is None:
        raise SettingError(f"there is no {what} {name}, neither here nor among the property files")
    return path


def parse_yaml(text: str, setting: str = "") -> Any:
    """A YAML value, plain data only; raises ``yaml.YAMLError``.

    Args:
        text: The value.
        setting: The setting that it is the value of; texts in ``value_labels`` stay as they are written.
    """
    return load_yaml(text, as_texts=setting in TEXT_SETTINGS, text_keys=TEXT_SETTINGS)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        SettingError: It is no YAML or no mapping; names the file and, where known, the line.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise SettingError(f"{path} must hold `key: value` lines, got {type(content).__name__}")
    return content or {}


def load_properties(*, model: str, dataset: str, external: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings for a run, before the user's own come over them.

    Args:
        model: ``ClickPrompt`` or ``ClickPromptNoPLM``.
        dataset: Name of the data set; one without a property file adds nothing.
        external: What the user set; only ``backbone`` is read, as it chooses a file.

    Raises:
        SettingError: There is no property file for the backbone.
    """
    names = ("overall.yaml", f"model/{model}.yaml", f"dataset/{dataset}.yaml")
    overall, of_model, of_dataset = map(_read_property_file, names)
    of_model = {**_defaults(model), **of_model}
    if moved := sorted(settings_of(model).keys() & overall.keys() - settings_of("").keys()):
        getLogger().warning(
            f"{find_property_file(names[0])}: {', '.join(moved)} belong in {names[1]}, which is read after it"
        )
    backbone = {**overall, **of_model, **of_dataset, **external}.get("backbone")
    of_backbone = _read_property_file(f"backbone/{backbone}.yaml")
    return {**overall, **of_model, **of_backbone, **of_dataset}


def _defaults(model: str) -> dict[str, Any]:
    # A method of another package has no property file here
    return {
        name: copy.deepcopy(setting.default)
        for name, setting in settings_of(model).items()
        if not isinstance(setting.default, Elsewhere)
    }


def quote_strings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings in a form that RecBole takes for what they are; a text as such would be evaluated as code."""
    # The name of the model is one that we know, and what RecBole's reading of the rest may hang on
    return {k: repr(v) if isinstance(v, str) and k != "model" else v for k, v in settings.items()}


def _read_property_file(name: str) -> dict[str, Any]:
    path = find_property_file(name)
    settings = read_yaml(path) if path else {}
    use_new_names(settings, where=str(path))
    return settings

"""Finds the property files of a run and merges them, lowest precedence first:
``overall.yaml``, ``model/<Model>.yaml``, ``backbone/<Backbone>.yaml``, ``dataset/<dataset>.yaml``.
"""

from __future__ import annotations

import copy
import functools
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
    "backbone_settings",
    "find_file",
    "find_property_file",
    "load_properties",
    "parse_yaml",
    "property_folders",
    "read_yaml",
]

_PACKAGE = Path(__file__).resolve().parents[1]


# Settings whose keys and values are strings in the data: YAML would read NO as False and 007 as 7
TEXT_SETTINGS = ("value_labels", "value_words")  # the second is the old name of the first


def property_folders() -> list[Path]:
    """The folders of property files, in order: ``./props`` in the working directory, then the shipped files."""
    shipped = _PACKAGE / "props"  # inside a wheel
    if not shipped.is_dir():
        shipped = _PACKAGE.parent / "props"  # inside a checkout
    return [Path("props"), shipped]


def find_property_file(name: str) -> Path | None:
    """The first property file with this name, such as ``dataset/ml-100k.yaml``, or None."""
    # Path.is_file raises for names that are too long for the file system
    return next((f / name for f in property_folders() if os.path.isfile(f / name)), None)


def find_file(name: str, what: str) -> Path:
    """Finds a file by its path or, as with ``evidence/ml-100k.yaml``, among the property files.

    Args:
        name: The path or name.
        what: The kind of file, for the error message.

    Raises:
        SettingError: There is no such file.
    """
    path = Path(name) if os.path.isfile(name) else find_property_file(name)
    if path is None:
        raise SettingError(f"there is no {what} {name}, neither at this path nor among the property files")
    return path


def parse_yaml(text: str, setting: str = "") -> Any:
    """Parses a YAML value; tags other than those of plain data raise ``yaml.YAMLError``.

    Args:
        text: The value.
        setting: The name of its setting; in ``value_labels`` all scalars are strings.
    """
    return load_yaml(text, as_texts=setting in TEXT_SETTINGS, text_keys=TEXT_SETTINGS)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads the mapping in a YAML file.

    Raises:
        SettingError: The file is not YAML or not a mapping; names the file and, if known, the line.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise SettingError(f"{path} must contain `key: value` lines, got {type(content).__name__}")
    return content or {}


def load_properties(*, model: str, dataset: str, external: Mapping[str, Any]) -> dict[str, Any]:
    """Merges the property files of a run; the user's settings override the result.

    Args:
        model: Name of a method, such as ``ClickPrompt``.
        dataset: Name of the data set, which need not have a property file.
        external: The user's settings; only ``backbone`` is read, because it selects a file.

    Raises:
        SettingError: A property file cannot be read, or contains both an old and a new name of a setting.
    """
    names = ("overall.yaml", f"model/{model}.yaml", f"dataset/{dataset}.yaml")
    overall, model_file, dataset_file = map(_read_property_file, names)
    model_settings = {**_defaults(model), **model_file}
    if moved := sorted(settings_of(model).keys() & overall.keys() - settings_of("").keys()):
        getLogger().warning(
            f"{find_property_file(names[0])}: {', '.join(moved)} belong in {names[1]}, which overrides this file"
        )
    backbone = {**overall, **model_settings, **dataset_file, **external}.get("backbone")
    backbone_file = _read_property_file(f"backbone/{backbone}.yaml")
    return {**overall, **model_settings, **backbone_file, **dataset_file}


def backbone_settings() -> set[str]:
    """Names of the settings of all backbones, as a file that several of them share may have those of each."""
    files = (p for folder in property_folders() for p in (folder / "backbone").glob("*.yaml"))
    return {key for path in files for key in _keys(path, path.stat().st_mtime_ns)}


@functools.lru_cache(maxsize=256)
def _keys(path: Path, changed_at: int) -> frozenset[str]:
    """Keys of a property file. Reading all of the backbones' would take half of the time that a config takes."""
    return frozenset(read_yaml(path))


def _defaults(model: str) -> dict[str, Any]:
    # A method of another package has no property file
    return {
        name: copy.deepcopy(setting.default)
        for name, setting in settings_of(model).items()
        if not isinstance(setting.default, Elsewhere)
    }


def quote_strings(settings: dict[str, Any]) -> dict[str, Any]:
    """Quotes the strings among settings, because RecBole would evaluate an unquoted string as code."""
    # RecBole reads the name of the model before it evaluates settings, and it is known to be safe
    return {k: repr(v) if isinstance(v, str) and k != "model" else v for k, v in settings.items()}


def _read_property_file(name: str) -> dict[str, Any]:
    path = find_property_file(name)
    settings = read_yaml(path) if path else {}
    use_new_names(settings, where=str(path))
    return settings

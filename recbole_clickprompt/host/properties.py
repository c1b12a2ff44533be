"""Finds the property files of a run and merges them, lowest precedence first:
``overall.yaml``, ``model/<Model>.yaml``, ``backbone/<Backbone>.yaml``, ``dataset/<dataset>.yaml``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.yaml_files import TEXT_SETTINGS, parse_yaml, read_yaml
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


def property_folders() -> list[Path]:
    """The folders of property files, in order: ``./props`` in the working directory, then the shipped files."""
    shipped = _PACKAGE / "props"  # inside a wheel
    if not shipped.is_dir():
        shipped = _PACKAGE.parent / "props"  # inside a checkout
    return [Path("props"), shipped]


def find_property_file(name: str) -> Path | None:
    """The first property file with this name, such as ``dataset/ml-100k.yaml``, or None."""
    return next((f / name for f in property_folders() if (f / name).is_file()), None)


def find_file(name: str, what: str) -> Path:
    """Finds a file by its path or, as with ``evidence/ml-100k.yaml``, among the property files.

    Args:
        name: The path or name.
        what: The kind of file, for the error message.

    Raises:
        SettingError: There is no such file.
    """
    path = Path(name) if Path(name).is_file() else find_property_file(name)
    if path is None:
        raise SettingError(f"there is no {what} {name}, neither at this path nor among the property files")
    return path


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

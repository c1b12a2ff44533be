"""All declared settings: the shared ones and those of each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recbole_clickprompt.settings.declaration import Setting, Stage
from recbole_clickprompt.settings.recbole import RECBOLES
from recbole_clickprompt.settings.shared import SHARED

__all__ = ["declare", "declared", "methods", "methods_of", "of_stage", "settings_of"]

_DECLARED: dict[str, dict[str, Setting]] = {}


def declare(settings: Mapping[str, Setting], method: str = "") -> None:
    """Adds settings to the registry.

    A method may redeclare a shared setting with a different default or meaning, and two methods may declare the
    same setting.

    Args:
        settings: Declarations by name.
        method: The method that reads them, such as ``ClickPrompt``; empty for all methods.

    Raises:
        ValueError: A setting was declared before with a different type or stage.
    """
    for name, setting in settings.items():
        for other in _DECLARED.values():
            if name in other and _signature(other[name]) != _signature(setting):
                raise ValueError(f"{name} is declared twice, with different types or stages")
    if settings:
        _DECLARED.setdefault(method, {}).update(
            {name: replace(setting, method=method) for name, setting in settings.items()}
        )


def _signature(setting: Setting) -> tuple[str, str, str]:
    return setting.type.name, setting.expected, setting.stage


def declared() -> dict[str, Setting]:
    """All settings by name; for a setting that is declared more than once, the first declaration."""
    merged: dict[str, Setting] = {}
    for settings in _DECLARED.values():
        merged = {**settings, **merged}
    return merged


def settings_of(method: str) -> dict[str, Setting]:
    """The declarations of a method; for ``""``, the shared ones."""
    return dict(_DECLARED.get(method, {}))


def methods() -> list[str]:
    """The methods that have declared settings."""
    return [method for method in _DECLARED if method]


def methods_of(name: str) -> list[str]:
    """The methods that declare a setting, in order of declaration; ``""`` stands for a shared setting."""
    return [method for method, settings in _DECLARED.items() if name in settings]


def of_stage(stage: Stage) -> set[str]:
    """Names of the settings declared with this stage."""
    return {name for name, setting in declared().items() if setting.stage == stage}


declare(SHARED)
declare(RECBOLES)

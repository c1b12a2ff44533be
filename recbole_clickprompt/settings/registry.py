"""All declared settings: those that every method shares, and each method's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recbole_clickprompt.settings.declaration import Setting, Stage
from recbole_clickprompt.settings.recbole import RECBOLES
from recbole_clickprompt.settings.shared import SHARED

__all__ = ["declare", "declared", "methods", "methods_of", "of_stage", "settings_of"]

_DECLARED: dict[str, dict[str, Setting]] = {}


def declare(settings: Mapping[str, Setting], method: str = "") -> None:
    """Makes settings known.

    A method may declare a shared setting again, with another default or meaning, and two methods may declare the
    same one.

    Args:
        settings: By name.
        method: The model that reads them, such as ``ClickPrompt``; empty for all.

    Raises:
        ValueError: A setting has another type or stage than where it was declared before.
    """
    for name, setting in settings.items():
        for other in _DECLARED.values():
            if name in other and _form(other[name]) != _form(setting):
                raise ValueError(f"{name} is declared twice, with different types or stages")
    own = {name: replace(setting, method=method) for name, setting in settings.items()}
    if own:
        _DECLARED.setdefault(method, {}).update(own)


def _form(setting: Setting) -> tuple[str, str, str]:
    return setting.type.name, setting.expected, setting.stage


def declared() -> dict[str, Setting]:
    """Every setting by name; of one that is declared more than once, the first declaration."""
    merged: dict[str, Setting] = {}
    for settings in _DECLARED.values():
        merged = {**settings, **merged}
    return merged


def settings_of(method: str) -> dict[str, Setting]:
    """What a method declares; for ``""`` the settings that all share."""
    return dict(_DECLARED.get(method, {}))


def methods() -> list[str]:
    """The methods that have declared settings."""
    return [method for method in _DECLARED if method]


def methods_of(name: str) -> list[str]:
    """The methods that declare a setting, ``""`` for a shared one, in order of declaration."""
    return [method for method, settings in _DECLARED.items() if name in settings]


def of_stage(stage: Stage) -> set[str]:
    """Names of the settings that determine it."""
    return {name for name, setting in declared().items() if setting.stage == stage}


declare(SHARED)
declare(RECBOLES)

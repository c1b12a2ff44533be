"""The registry of methods: those of this package, of installed packages, and of the running program."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.settings.registry import declare

__all__ = [
    "ENTRY_POINTS", "find_method", "load_methods", "method_names", "methods", "on_register", "register_method",
    "resolve_name",
]  # fmt: skip

ENTRY_POINTS = "recbole_clickprompt.methods"
# The first method of the first folder is the default
_PACKAGE = (
    "clickprompt", "ptab", "msd", "ctrbert", "ctrl", "flip", "p5", "kar", "qarmlike", "llactr", "sukd_like",
    "numbert_like", "bert4ctr_like", "charmatch_like", "print_repaired",
)  # fmt: skip

_methods: dict[str, Method] = {}
_listeners: list[Callable[[Method], None]] = []


def register_method(method: Method) -> None:
    """Makes a method available by its name in ``run_recbole``, on the command line, in grids, tuning and serving.

    Installed packages need not call it: they can declare an entry point of the group
    ``recbole_clickprompt.methods`` that refers to a ``Method`` or to a list of methods.

    Args:
        method: The method; one of the same class replaces an earlier one.

    Raises:
        SettingError: A method of another class already has the name or an alias.
    """
    for name in (method.name, *method.aliases):
        other = next((m for m in _methods.values() if name in (m.name, *m.aliases)), None)
        if other is not None and type(other) is not type(method):
            raise SettingError(f"the name {name} is already used by the method {other.name}; choose another one")
    declare(method.settings(), method.name)
    _methods[method.name] = method
    for listener in _listeners:
        listener(method)


def on_register(listener: Callable[[Method], None]) -> None:
    """Calls a function with every method: first with those already registered, then with each new one."""
    _listeners.append(listener)
    for method in _methods.values():
        listener(method)


def load_methods() -> None:
    """Registers the methods of this package and of installed packages (entry points)."""
    from importlib.metadata import entry_points

    for folder in _PACKAGE:
        module = importlib.import_module(f"recbole_clickprompt.methods.{folder}")
        for method in module.METHODS:
            register_method(method)
    for entry in entry_points(group=ENTRY_POINTS):
        found = entry.load()
        for method in found if isinstance(found, list | tuple) else [found]:
            register_method(method)


def methods() -> tuple[Method, ...]:
    """All methods in the order of registration; the first one is the default."""
    return tuple(_methods.values())


def method_names() -> tuple[str, ...]:
    """Names of all methods, without aliases."""
    return tuple(_methods)


def find_method(name: str) -> Method:
    """The method with a name; aliases are not resolved.

    Raises:
        SettingError: There is no such method.
    """
    if name not in _methods:
        raise SettingError(
            f"there is no method {name!r}; known are {', '.join(_methods)}{nearest(name, _methods)}"
        )
    return _methods[name]


def resolve_name(name: str | None) -> tuple[str, Mapping[str, Any]]:
    """Resolves a name or an alias.

    Args:
        name: Name of a method or an alias; None is the default method.

    Returns:
        Name of the method, and the settings that the alias implies.

    Raises:
        SettingError: The name is unknown, or no text.
    """
    if name is None:
        return next(iter(_methods)), {}
    if not isinstance(name, str):
        raise SettingError(f"model must be a name, got {name!r}")
    aliases = {alias: (method.name, implied) for method in methods() for alias, implied in method.aliases.items()}
    if name in aliases:
        return aliases[name]
    if name not in _methods:
        known = [*_methods, *aliases]
        raise SettingError(f"model must be one of {', '.join(known)}, got {name!r}{nearest(name, known)}")
    return name, {}

"""Makes RecBole's ``get_model`` find classes by name without files in RecBole's folders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import recbole.model.context_aware_recommender as folder

__all__ = ["add_model"]


def add_model(name: str, load: Callable[[], type]) -> None:
    """Adds the module in which RecBole looks for a context-aware model; the class is loaded when it is asked for.

    Args:
        name: Of the model and its class.
        load: Gives the class.
    """
    # RecBole looks for a module of the name in lower case, and in it for the class
    full_name = f"{folder.__name__}.{name.lower()}"
    module = ModuleType(full_name, f"Where RecBole's get_model({name!r}) looks.")
    module.__spec__ = ModuleSpec(full_name, loader=None)

    def get_class(attribute: str) -> Any:
        if attribute == name:
            return load()
        raise AttributeError(f"module {full_name!r} has no attribute {attribute!r}")

    module.__getattr__ = get_class  # type: ignore[method-assign]
    sys.modules[full_name] = module

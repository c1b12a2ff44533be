"""Makes RecBole's ``get_model`` find models that are not files in RecBole's package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import recbole.model.context_aware_recommender as folder

__all__ = ["add_model"]


def add_model(name: str, load: Callable[[], type]) -> None:
    """Adds the module in which RecBole looks for a context-aware model; the class is loaded on first access.

    Args:
        name: Name of the model and its class.
        load: Returns the class.
    """
    # RecBole imports a module named after the model in lower case, and gets the class from it
    full_name = f"{folder.__name__}.{name.lower()}"
    module = ModuleType(full_name, f"The module that RecBole's get_model({name!r}) imports.")
    module.__spec__ = ModuleSpec(full_name, loader=None)

    def get_class(attribute: str) -> Any:
        if attribute == name:
            return load()
        raise AttributeError(f"module {full_name!r} has no attribute {attribute!r}")

    module.__getattr__ = get_class  # type: ignore[method-assign]
    sys.modules[full_name] = module

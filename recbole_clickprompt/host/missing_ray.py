"""Stands in for ray, which RecBole imports, where there is no ray or the installed NumPy breaks it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from types import ModuleType

__all__ = ["replace_unusable_ray"]


def replace_unusable_ray() -> None:
    """Provides ``ray.tune`` to RecBole, which uses it in ``objective_function`` alone, to report to ray's search.

    RecBole 1.2.1 requires ray <= 2.6.3, which has no wheels for Python 3.12 and fails with NumPy 2. Must be called
    before ``recbole.quick_start`` is imported; imports nothing else.
    """
    numpy_1 = importlib.metadata.version("numpy").startswith("1.")
    if "ray" in sys.modules or (numpy_1 and importlib.util.find_spec("ray") is not None):
        return
    ray, tune = ModuleType("ray", "No ray: it is not installed, or NumPy 2 breaks it."), ModuleType("ray.tune")
    tune.report = lambda **_: None  # type: ignore[attr-defined] # as ray's, outside of a search by ray
    ray.tune = tune  # type: ignore[attr-defined]
    sys.modules |= {"ray": ray, "ray.tune": tune}

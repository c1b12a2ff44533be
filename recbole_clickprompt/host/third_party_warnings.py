"""Warnings that libraries print about their own code."""

from __future__ import annotations

import warnings

__all__ = ["ignore_third_party_warnings"]


def ignore_third_party_warnings() -> None:
    """Hides warnings about code of RecBole and ray, about which a user can do nothing.

    Must be called before RecBole is imported, because ray warns when it is imported.
    """
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    # Assignments through pandas' chained indexing
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
    # With pandas 3: of what current_libraries.py replaces, and of columns that RecBole copies into tensors
    warnings.filterwarnings("ignore", message="A value is being set on a copy", module=r"recbole\.")
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable", module=r"recbole\.")

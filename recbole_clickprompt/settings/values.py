"""The interface for reading settings, the same for a run in progress and a saved one."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Settings"]


class Settings(Protocol):
    """Settings of a run by name: RecBole's ``Config``, or the mapping stored with a saved run."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a setting, of the type that its declaration states (``settings/declaration.py``).

        RecBole's ``Config`` returns None for an unknown name; a mapping raises KeyError.
        """

    def __contains__(self, name: object, /) -> bool: ...

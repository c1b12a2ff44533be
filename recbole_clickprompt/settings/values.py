"""What reads settings: a run in progress and a saved one give them alike."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Settings"]


class Settings(Protocol):
    """Settings of a run by name: RecBole's ``Config``, or the mapping that a saved run holds."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a setting, of the type that its declaration gives (``settings/declaration.py``).

        RecBole's ``Config`` gives None for a name that it does not know; a mapping raises KeyError.
        """

    def __contains__(self, name: object, /) -> bool: ...

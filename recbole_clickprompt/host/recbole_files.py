"""Reads each of RecBole's own property files once per process.

RecBole parses them again for every ``Config``, which takes longer than everything else that a ``Config`` does; a
grid, a search or a test makes many. These files belong to the installed package and do not change while it runs.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

from recbole.config import Config

__all__ = ["install"]


def install() -> None:
    """Wraps the method of ``Config`` that reads a file into ``internal_config_dict``."""
    read = Config._update_internal_config_dict
    contents: dict[str, Any] = {}

    @functools.wraps(read)
    def read_once(self: Config, file: str) -> Any:
        if file not in contents:
            contents[file] = copy.deepcopy(read(self, file))
        content = copy.deepcopy(contents[file])
        self.internal_config_dict.update(content or {})
        return content

    Config._update_internal_config_dict = read_once

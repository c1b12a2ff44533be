"""Search spaces: RecBole's hyper files, read without evaluating them as code."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import yaml

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.properties import parse_yaml

__all__ = ["Draw", "read_search_file", "read_space"]

_LARGEST_POWER = 700  # of e, below the largest float
# Number of values of each kind; None: any
_KINDS = {"choice": None, "uniform": 2, "loguniform": 2, "quniform": 3}


@dataclass(frozen=True)
class Draw:
    """The distribution of a setting.

    Attributes:
        name: The setting.
        kind: ``choice``, ``uniform``, ``loguniform`` or ``quniform``, as in hyperopt.
        values: The options of a choice; else the lowest and the highest number (for ``loguniform`` as powers of
            e), and for ``quniform`` also the step.
    """

    name: str
    kind: str
    values: tuple[Any, ...]

    def hyperopt(self) -> Any:
        """The hyperopt node that draws it; for a choice it draws the index of the option."""
        from hyperopt import hp

        if self.kind == "choice":
            return hp.choice(self.name, list(range(len(self.values))))
        return getattr(hp, self.kind)(self.name, *map(float, self.values))

    def value(self, drawn: float) -> Any:
        """The setting's value for a draw of ``hyperopt``; a ``quniform`` of whole numbers gives integers."""
        if self.kind == "choice":
            return self.values[int(drawn)]
        whole = self.kind == "quniform" and all(float(v).is_integer() for v in self.values)
        return round(drawn) if whole else float(drawn)

    def bounds(self) -> Iterator[Any]:
        """Every option, or both bounds: values that must be valid."""
        if self.kind == "choice":
            yield from self.values
        else:
            yield from (
                self.value(math.exp(v) if self.kind == "loguniform" else float(v)) for v in self.values[:2]
            )


def read_space(space: object, path: Path) -> list[Draw]:
    """The search space in a tuning file.

    Args:
        space: A mapping of settings to texts such as ``choice [8, 16]`` or ``loguniform -8, 0``, RecBole's syntax
            without the name; or the path of a hyper file of RecBole.
        path: The tuning file, for messages.

    Raises:
        SettingError: It is neither, or a line is invalid; names the line.
    """
    where = f"{path}: space"
    if isinstance(space, str):
        if not os.path.isfile(space):
            raise SettingError(f"{where}: there is no file {space}")
        where, space = space, read_search_file(Path(space))
    if not isinstance(space, dict) or not space:
        raise SettingError(f"{where} must map settings to texts such as `choice [8, 16]`, got {space!r}")
    return [_draw(str(name), text, where) for name, text in space.items()]


def read_search_file(path: Path) -> dict[str, str]:
    """The settings in a search file of RecBole's, such as ``hyper.test``, and how each is drawn.

    Raises:
        SettingError: It cannot be read, or a setting comes twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    space: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, draw = line.partition(" ")
        if name in space:
            raise SettingError(f"{path}: {name[:60]} is there twice")
        space[name] = draw
    return space


def _draw(name: str, text: object, where: str) -> Draw:
    kind, _, rest = str(text).strip().partition(" ")
    if kind not in _KINDS:
        raise SettingError(
            f"{where}: {name}: {text!r} must begin with one of {', '.join(_KINDS)}{nearest(kind, _KINDS)}"
        )
    rest = rest.strip()
    try:
        # RecBole also accepts tuples, and numbers without brackets
        listed = rest if rest.startswith("[") else f"[{rest.removeprefix('(').removesuffix(')')}]"
        values = parse_yaml(listed, name)
    except yaml.YAMLError as error:
        raise SettingError(f"{where}: {name}: {rest!r} is not a list: {' '.join(str(error).split())}") from error
    wanted = _KINDS[kind]
    if not isinstance(values, list) or not values or (wanted is not None and len(values) != wanted):
        raise SettingError(f"{where}: {name}: {kind} needs {wanted or 'one or more'} values, got {rest!r}")
    if kind == "choice":
        return Draw(name, kind, tuple(values))
    if not all(_is_finite(v) for v in values) or values[0] >= values[1]:
        raise SettingError(f"{where}: {name}: {kind} needs numbers, the lower one first, got {rest!r:.100}")
    if kind == "loguniform" and values[1] > _LARGEST_POWER:
        raise SettingError(
            f"{where}: {name}: the bounds of loguniform are powers of e, at most {_LARGEST_POWER}, got {rest!r}; "
            "for 1e-4 to 1e-2 write loguniform -9.21, -4.605"
        )
    if kind == "loguniform" and values[0] > 0 and values[1] <= 1:
        low, high = math.log(values[0]), math.log(values[1])
        getLogger().warning(
            f"{where}: {name}: the bounds of loguniform are powers of e, so {rest} draws from "
            f"{math.exp(values[0]):.4g} to {math.exp(values[1]):.4g}; for {values[0]:g} to {values[1]:g} write "
            f"loguniform {low:.4g}, {high:.4g}"
        )
    if kind == "quniform" and values[2] <= 0:
        raise SettingError(f"{where}: {name}: the step of quniform must be above 0, got {values[2]}")
    return Draw(name, kind, tuple(values))


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False

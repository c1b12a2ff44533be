"""Search spaces: RecBole's hyper files, read without evaluating them as code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import yaml

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.yaml_files import parse_yaml

__all__ = ["Draw", "is_hyper_file", "read_space"]

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


def is_hyper_file(path: Path) -> bool:
    """Whether a file is a hyper file of RecBole: each line has a setting, a kind such as ``choice``, values."""
    lines = _lines(path)
    return bool(lines) and all(text.partition(" ")[0] in _KINDS for _, text in lines)


def _lines(file: Path) -> list[tuple[str, str]]:
    """The names and the texts after them in a hyper file; raises SettingError if it is not text."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SettingError(f"{file} is not UTF-8 text: {error.reason} in byte {error.start + 1}") from error
    words = [line.split(maxsplit=1) for line in lines if line.strip() and not line.strip().startswith("#")]
    return [(parts[0], parts[1].strip() if len(parts) > 1 else "") for parts in words]


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
        file = Path(space)
        if not file.is_file():
            raise SettingError(f"{where}: there is no file {space}")
        where = str(file)
        pairs = _lines(file)
        names = [name for name, _ in pairs]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise SettingError(f"{where}: {repeated[0]} occurs twice")
        space = dict(pairs)
    if not isinstance(space, dict) or not space:
        raise SettingError(f"{where} must map settings to texts such as `choice [8, 16]`, got {space!r}")
    return [_draw(str(name), text, where) for name, text in space.items()]


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
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values) or values[0] >= values[1]:
        raise SettingError(f"{where}: {name}: {kind} needs numbers, the lower one first, got {rest!r}")
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

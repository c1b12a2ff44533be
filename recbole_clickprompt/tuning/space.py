"""Search spaces: RecBole's hyper files, read without evaluating them as code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.yaml_files import parse_yaml

__all__ = ["Draw", "read_space"]

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
        file = Path(space)
        if not file.is_file():
            raise SettingError(f"{where}: there is no file {space}")
        where = str(file)
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        space = {name: text for name, _, text in (line.partition(" ") for line in lines)}
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
    if kind == "quniform" and values[2] <= 0:
        raise SettingError(f"{where}: {name}: the step of quniform must be above 0, got {values[2]}")
    return Draw(name, kind, tuple(values))

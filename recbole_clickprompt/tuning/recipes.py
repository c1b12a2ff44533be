"""Recipes: property files whose settings did well, to be searched and compared on other data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.baselines import BASELINES
from recbole_clickprompt.host.properties import find_file, read_yaml
from recbole_clickprompt.methods.registry import resolve_name
from recbole_clickprompt.settings.old_names import use_new_names
from recbole_clickprompt.tuning.space import Draw, read_space

__all__ = ["DECIDED", "Recipe", "Recipes", "plan_rounds", "read_recipes"]

# Settings of a comparison, which recipes leave out
DECIDED = ("seed", "dataset", "valid_metric", "save_predictions")

_KEYS = ("recipes", "with_plm", "space")
# Searches end after as many trials; more seeds than these say little more
_MOST_TRIALS, _MOST_SEEDS = 20, 5
_SEEDS_SHARE = 0.4


@dataclass(frozen=True)
class Recipe:
    """A model with its settings.

    Attributes:
        name: In tables.
        settings: All that are not searched.
        first: Values of the searched settings in the property file, which the first trial has.
    """

    name: str
    settings: dict[str, Any]
    first: dict[str, Any]

    @property
    def file_name(self) -> str:
        """The name as a part of file names."""
        return re.sub(r"[^\w-]+", "-", self.name)


@dataclass(frozen=True)
class Recipes:
    """Recipes, the first of which is the baseline, and the settings that are searched for each of them."""

    recipes: list[Recipe]
    space: list[Draw]

    def draw(self, number: int, *, seed: int) -> dict[str, Any]:
        """The searched settings of trial ``number``, from 1: the same for all recipes."""
        import numpy as np
        from hyperopt.pyll.stochastic import sample

        generator = np.random.RandomState([seed, number])  # the kind that hyperopt's choices take
        return {draw.name: draw.value(sample(draw.hyperopt(), generator)) for draw in self.space}


def read_recipes(path: Path, given: Mapping[str, Any], *, dataset: str, plm: bool) -> Recipes:
    """Reads ``best/recipes.yaml`` and the property files that it names.

    Args:
        path: The file: ``recipes`` and ``with_plm``, a property file by name, and ``space``, as of a tuning file.
        given: Settings of all recipes, which are not searched.
        dataset: The data set.
        plm: Whether those under ``with_plm`` belong to it.

    Raises:
        SettingError: A file is missing or invalid, lacks a searched setting, or has one that a comparison decides.
    """
    content = read_yaml(path)
    if lacking := next((key for key in _KEYS if not isinstance(content.get(key), dict)), None):
        raise SettingError(f"{path}: {lacking} must be a dict, got {content.get(lacking)!r}")
    if unknown := sorted(map(str, content.keys() - set(_KEYS))):
        raise SettingError(f"{path}: {unknown[0]} must be one of {', '.join(_KEYS)}")
    if not content["recipes"]:
        raise SettingError(f"{path}: recipes is empty; its first entry is the baseline")
    given = dict(given)
    use_new_names(given, where="command line")
    space = [draw for draw in read_space(content["space"], path) if draw.name not in given]
    files = {**content["recipes"], **(content["with_plm"] if plm else {})}
    recipes: list[Recipe] = []
    if taken := next((draw.name for draw in space if draw.name in (*DECIDED, "model", "backbone")), None):
        raise SettingError(f"{path}: compare decides {taken}; leave it out of space")
    for name, file in files.items():
        if "=" in str(name) or name in BASELINES:
            raise SettingError(
                f"{path}: the name of a recipe must not contain = or be that of a trivial baseline, got {name!r}; "
                "rename it"
            )
        found = find_file(str(file), "property file")
        settings = read_yaml(found)
        if taken := next((key for key in DECIDED if key in settings), None):
            raise SettingError(f"{found}: compare decides {taken}; leave it out")
        model, implied = resolve_name(settings.pop("model", None))
        settings = {**implied, **settings, **given, "model": model, "dataset": dataset}
        if absent := next((draw.name for draw in space if draw.name not in settings), None):
            raise SettingError(f"{found}: {absent} is missing, which {path} searches")
        first = {draw.name: settings.pop(draw.name) for draw in space}
        recipe = Recipe(str(name), settings, first)
        if same := next((other.name for other in recipes if other.file_name == recipe.file_name), None):
            raise SettingError(f"{path}: {name!r} and {same!r} would write the same files; rename one of them")
        recipes.append(recipe)
    return Recipes(recipes, space)


def plan_rounds(minutes: float, first: float) -> tuple[int, int]:
    """How many trials and seeds of every recipe fit.

    Args:
        minutes: For everything.
        first: Minutes that the first trials of all recipes took together.

    Returns:
        The number of trials, from 1 to 20, with the first; and of seeds, from 1 to 5. About two fifths of the time
        are for seeds.
    """
    rounds = int(minutes / max(first, 1e-9))
    seeds = min(_MOST_SEEDS, max(1, round(_SEEDS_SHARE * rounds)))
    return min(_MOST_TRIALS, max(1, rounds - seeds)), seeds

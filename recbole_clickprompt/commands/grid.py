"""Run a list of models over settings and seeds, and compare them.

FILE.yaml holds
  settings: shared by all runs, with the data set
  runs:     a name for each model, with its own settings; `model` may be a backbone's name
  vary:     (optional) settings with a list of values each; every combination is run
  seeds:    (optional) a list of whole numbers; default [2020]
  baseline: (optional) the run that others are compared with
  base:     (optional) a file with defaults: `settings`, and under `backbones` those of single backbones;
            {dataset} in its name stands for the data set
  results:  (optional) the table, .csv or .parquet; default results/<file>-<dataset>.csv
  costs:    (optional) True: also compare the runs with the baseline over users, and measure what each costs

--key=value overrides `settings`, and --seeds=[1,2,3] overrides `seeds`. A run that is already in the table, with
equal settings, is not repeated: an interrupted grid continues where it stopped, and if a grid is started twice,
each run counts once. A grid whose data set has changed since is refused.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_clickprompt.commands.options import check_names, dataset_name, parse_settings, refuse_keys
from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.properties import find_file, read_yaml
from recbole_clickprompt.methods.registry import resolve_name
from recbole_clickprompt.settings.old_names import refuse_dropped, use_new_names

__all__ = ["add_arguments", "execute"]

_KEYS = {
    "settings": dict, "runs": dict, "vary": dict, "seeds": list, "baseline": str | int | float, "base": str,
    "results": str, "costs": bool,
}  # fmt: skip
_SEEDS = [2020]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The grid file."""
    parser.add_argument("file", help="a grid file, or the name of one among the property files")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Runs what is missing in the table, appending each run, then prints the comparison as Markdown.

    Raises:
        SettingError: The file is missing or invalid.
    """
    from recbole_clickprompt.commands.grid_costs import check_costs, methods_report
    from recbole_clickprompt.evaluation.baselines import grid_baselines
    from recbole_clickprompt.evaluation.summary import markdown, summarize
    from recbole_clickprompt.tuning.seeds import run_cells

    path = find_file(options.file, "grid file")
    given = parse_settings(settings)
    grid = read_yaml(path)
    if "seeds" in given:
        seeds = given.pop("seeds")
        grid["seeds"] = [] if seeds is None else seeds
    refuse_keys(given, _KEYS, "grid")
    _check(grid, path)
    shared: dict[str, Any] = grid.get("settings") or {}
    vary: dict[str, list[Any]] = grid.get("vary") or {}
    parts = (shared, given, vary, *filter(None, grid["runs"].values()))
    check_names(*parts, where=str(path))
    use_new_names(*parts, where=str(path))
    for part in parts:
        refuse_dropped(part, where=str(path))
    _check_varied(grid["runs"], given, vary, path)
    grid["settings"] = {**shared, **given}
    if any("seed" in part for part in (grid["settings"], *filter(None, grid["runs"].values()))):
        raise SettingError(f"{path}: seed is no setting of a grid; give --seeds=[...], or seeds in the file")
    dataset = grid["settings"].get("dataset")
    if dataset is not None:
        dataset = grid["settings"]["dataset"] = dataset_name(dataset)
    base = _base(grid["base"], dataset) if grid.get("base") else {}
    name = path.stem if dataset is None else f"{path.stem}-{dataset}"  # None: each run names its own
    table = Path(grid.get("results") or Path("results") / f"{name}.csv")
    cells = list(_cells(grid, base, vary))
    if lacking := next((cell["run"] for cell, config in cells if config.get("dataset") is None), None):
        raise SettingError(f"{path}: the run {lacking} has no data set; add dataset to settings")
    for _, config in cells:
        config["dataset"] = dataset_name(config["dataset"])
    datasets = dict.fromkeys(config["dataset"] for _, config in cells)
    if grid.get("baseline") is not None and len(datasets) > 1 and "dataset" not in vary:
        raise SettingError(
            f"{path}: baseline: runs on different data sets ({', '.join(datasets)}) cannot be compared; list the "
            "data sets under vary, or leave baseline out"
        )
    if grid.get("costs"):
        check_costs(grid, [config for _, config in cells], path)
    requested = run_cells(cells, table, command="grid")
    baseline = None if grid.get("baseline") is None else str(grid["baseline"])
    if baseline is not None:
        print("\np: paired t-test over the seeds that both have, not corrected for the number of comparisons.")
    print(f"\n{markdown(summarize(requested, by=list(vary), baseline=baseline), by=list(vary))}")
    trivial = grid_baselines(requested, by=list(vary))
    if len(trivial):
        print(f"\ntrivial baselines:\n\n{markdown(summarize(trivial, by=[], baseline=None), by=[])}")
    if grid.get("costs") and baseline is not None:
        seed = (grid.get("seeds") or _SEEDS)[0]
        print(f"\n{methods_report(requested, baseline=baseline, seed=seed, table=table)}")


def _base(name: str, dataset: object) -> dict[str, Any]:
    if "{dataset}" in name and not isinstance(dataset, str):
        raise SettingError(f"base: {name} needs a data set; give --dataset=NAME")
    path = find_file(name.replace("{dataset}", str(dataset)), "grid file")
    base = read_yaml(path)
    for key in ("settings", "backbones"):
        if not isinstance(base.get(key), dict | None):
            raise SettingError(f"{path}: {key} must be a dict, got {base[key]!r}")
    backbones = (base.get("backbones") or {}).values()
    for own in backbones:
        if not isinstance(own, dict | None):
            raise SettingError(f"{path}: backbones must be dicts of settings, got {own!r}")
    check_names(base.get("settings") or {}, *filter(None, backbones), where=str(path))
    use_new_names(base.get("settings") or {}, *filter(None, backbones), where=str(path))
    return base


def _check(grid: dict[str, Any], path: Path) -> None:
    if "space" in grid:
        raise SettingError(f"{path} is a tuning file, which `recbole-cp tune {path}` runs")
    for key in grid:
        if key not in _KEYS:
            raise SettingError(f"{path}: unknown key {key} of a grid{nearest(key, _KEYS)}")
    for key, kind in _KEYS.items():
        if grid.get(key) is not None and not isinstance(grid[key], kind):
            name = getattr(kind, "__name__", "text or a number")
            raise SettingError(f"{path}: {key} must be a {name}, got {grid[key]!r}")
    if not str(grid.get("results") or "x.csv").endswith((".csv", ".parquet")):
        raise SettingError(f"{path}: results must end in .csv or .parquet, got {grid['results']!r}")
    if not grid.get("runs"):
        raise SettingError(f"{path}: runs is missing; name each model to run")
    for name, run_settings in grid["runs"].items():
        if not isinstance(run_settings, dict | None):
            raise SettingError(f"{path}: runs.{name} must be a dict, got {run_settings!r}")
    names = [str(name) for name in grid["runs"]]
    for name in names:
        if not name.strip() or not name.isprintable():
            raise SettingError(f"{path}: the name of a run must be a line of text, got {name!r}; rename it")
    if len(set(names)) < len(names):
        raise SettingError(f"{path}: runs has a name twice, once as a number; got {', '.join(names)}")
    if grid.get("baseline") is not None and str(grid["baseline"]) not in names:
        raise SettingError(f"{path}: baseline must be one of {', '.join(names)}, got {grid['baseline']!r}")
    for name, values in (grid.get("vary") or {}).items():
        if not isinstance(values, list) or not values:
            raise SettingError(f"{path}: vary.{name} must be a list of values, got {values!r}")
        if name == "seed":
            raise SettingError(f"{path}: vary.seed: a seed is not a setting to compare; list it under seeds")
        _check_once(values, f"{path}: vary.{name}")
    if grid.get("seeds") == []:
        raise SettingError(f"{path}: seeds must be a list of at least one whole number, got []")
    for seed in grid.get("seeds") or []:
        if type(seed) is not int or not 0 <= seed < 1 << 32:  # the range that numpy accepts
            shown = repr(seed) if len(repr(seed)) < 60 else f"{repr(seed)[:60]}..."
            raise SettingError(f"{path}: seeds must be whole numbers from 0 to {(1 << 32) - 1}, got {shown}")
    _check_once(grid.get("seeds") or [], f"{path}: seeds")


def _check_varied(
    runs: dict[str, dict[str, Any] | None], given: dict[str, Any], vary: dict[str, list[Any]], path: Path
) -> None:
    """Refuses values of varied settings that something else decides, or that would be ignored."""
    for name in vary:
        if name in given:
            raise SettingError(f"{path}: {name} is both under vary and on the command line; leave one out")
        for run, own in runs.items():
            if name in (own or {}):
                raise SettingError(f"{path}: {name} is both under vary and in runs.{run}; leave one out")


def _check_once(values: list[object], what: str) -> None:
    # Compared as in the table, in which 8.0 and 8 are equal
    keys = [str(float(value) if isinstance(value, int) and abs(value) < 1 << 53 else value) for value in values]
    if len(set(keys)) < len(keys):
        raise SettingError(f"{what} has a value twice, got {values!r}")


def _cells(
    grid: dict[str, Any], base: dict[str, Any], vary: dict[str, list[Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    # Seeds are the outermost loop, so an interrupted grid contains complete comparisons
    for seed in grid.get("seeds") or _SEEDS:
        for values in itertools.product(*vary.values()):
            varied = dict(zip(vary, values, strict=True))
            for name, run_settings in grid["runs"].items():
                own = {**varied, **(run_settings or {})}
                model, implied = resolve_name({**grid["settings"], **own}.get("model"))
                # The model that a run names, such as a plain backbone, decides over settings of all runs
                shared = [grid["settings"], implied] if "model" in own else [implied, grid["settings"]]
                settings = {**shared[0], **shared[1], **own, "seed": seed, "model": model}
                backbone_settings = (base.get("backbones") or {}).get(str(settings.get("backbone"))) or {}
                config = {**(base.get("settings") or {}), **backbone_settings, **settings}
                # A table holds lists as text
                cells = {key: str(v) if isinstance(v, list | dict) else v for key, v in varied.items()}
                yield {"run": str(name), **cells, "seed": seed}, config

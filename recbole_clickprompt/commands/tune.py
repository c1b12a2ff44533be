"""Search the settings with the best validation score, with RecBole's HyperTuning.

FILE.yaml holds
  settings:   shared by all trials: model, data set and any other setting
  space:      settings to search, as in RecBole's hyper files but never evaluated as code: `choice [8, 16]`,
              `uniform 0, 0.5`, `loguniform -8, -4` (powers of e), `quniform 64, 512, 64`; or such a file's name
  algorithm:  exhaustive (only with choices; default), random, or bayes (hyperopt's TPE)
  max_evals:  (optional) maximum number of trials of random and bayes; default 20. An exhaustive search runs all
  early_stop: (optional) stop after this many trials without an improvement
  seed:       (optional) seed of the search; default 2020
  results:    (optional) the table, .csv or .parquet; default results/<file>-<dataset>.csv

A file with another ending than .yaml is one of RecBole's search files, such as hyper.test, with a setting and its
space per line: an exhaustive search if all are choices, else a random one, with the settings of the command line.

--key=value overrides `settings`, and --max_evals=5 overrides `max_evals`. Trials with equal pretraining share it.
A trial that fails is recorded with its error, and the search continues. A trial that is already in the table is
not repeated: the same command continues an interrupted search. Trials that failed because of their files are.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.options import check_names, dataset_name, parse_settings, refuse_keys
from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.host.properties import find_file, quote_strings, read_yaml
from recbole_clickprompt.methods.registry import resolve_name
from recbole_clickprompt.settings.old_names import use_new_names
from recbole_clickprompt.tuning.space import read_search_file, read_space

if TYPE_CHECKING:
    from recbole_clickprompt.tuning.space import Draw

__all__ = ["add_arguments", "execute"]

_DEFAULTS: dict[str, Any] = {
    "settings": {}, "space": None, "algorithm": "exhaustive", "max_evals": 20, "early_stop": None, "seed": 2020,
    "results": None,
}  # fmt: skip
_ALGORITHMS = ("exhaustive", "random", "bayes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The tuning file."""
    parser.add_argument("file", help="a tuning file, or the name of one among the property files")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Runs the trials that the table lacks; prints all of them, best first, and the best settings as YAML.

    Raises:
        SettingError: The file is missing or invalid, or every trial failed.
    """
    import yaml

    from recbole_clickprompt.tuning.results import check_table
    from recbole_clickprompt.tuning.search import Search
    from recbole_clickprompt.tuning.trials import Trials

    path = find_file(options.file, "tuning file")
    given = parse_settings(settings)
    of_search = {"max_evals": given.pop("max_evals")} if "max_evals" in given else {}
    refuse_keys(given, set(_DEFAULTS) - {"seed"}, "tune")
    given_search = {**_read(path), **of_search}
    tuning = {**_DEFAULTS, **given_search}
    _check(tuning, path)
    draws = {draw.name: draw for draw in read_space(tuning["space"], path)}
    use_new_names(tuning["settings"], given, draws, where=str(path))
    space = [replace(draw, name=name) for name, draw in draws.items()]
    base = {**tuning["settings"], **given}
    model, implied = resolve_name(base.pop("model", None))
    base = {**implied, **base, "model": model, "dataset": dataset_name(base.get("dataset", "ml-100k"))}
    if tuning["algorithm"] == "exhaustive":
        if ranges := [draw.name for draw in space if draw.kind != "choice"]:
            raise SettingError(
                f"{path}: an exhaustive search accepts only choices, but {', '.join(ranges)} has a range"
            )
        combinations = math.prod(len(draw.values) for draw in space)
        if "max_evals" in given_search and tuning["max_evals"] < combinations:
            raise SettingError(
                f"{path}: max_evals is {tuning['max_evals']}, but an exhaustive search runs all {combinations} "
                "combinations; leave it out, or set algorithm: random"
            )
    bigger = _check_settings(base, space, path)
    table = Path(tuning["results"] or Path("results") / f"{path.stem}-{base['dataset']}.csv")
    check_table(table)
    trials = Trials(base, table, bigger=bigger)
    Search(
        trials,
        space,
        algorithm=tuning["algorithm"],
        max_evals=tuning["max_evals"],
        early_stop=tuning["early_stop"],
        seed=tuning["seed"],
    ).run()
    print(f"\n{trials.markdown([draw.name for draw in space])}")
    best = trials.best([draw.name for draw in space])
    print(f"\n# best of {len(trials.requested())} by validation; for your property file or --config_files\n")
    print(yaml.safe_dump(best, sort_keys=False).strip())


def _read(path: Path) -> dict[str, Any]:
    """What a tuning file holds; a search file of RecBole's, with a line per setting, is a space alone."""
    if path.suffix in (".yaml", ".yml"):
        return read_yaml(path)
    draws = read_search_file(path).values()
    ranges = any(draw.split()[:1] != ["choice"] for draw in draws)
    return {"space": str(path), "algorithm": "random" if ranges else "exhaustive"}


def _check(tuning: dict[str, Any], path: Path) -> None:
    if "runs" in tuning:
        raise SettingError(f"{path} is a grid file, which `recbole-cp grid {path}` runs")
    for key in tuning:
        if key not in _DEFAULTS:
            raise SettingError(f"{path}: unknown key {key} of a tuning file{nearest(key, _DEFAULTS)}")
    if not isinstance(tuning["settings"], dict):
        raise SettingError(f"{path}: settings must be a dict, got {tuning['settings']!r}")
    check_names(tuning["settings"], where=str(path))
    if not isinstance(tuning["results"], str | None):
        raise SettingError(f"{path}: results must be the name of a file, got {tuning['results']!r}")
    if not str(tuning["results"] or "x.csv").endswith((".csv", ".parquet")):
        raise SettingError(f"{path}: results must end in .csv or .parquet, got {tuning['results']!r}")
    if tuning["space"] is None:
        raise SettingError(f"{path}: space is missing; name the settings to search")
    if tuning["algorithm"] not in _ALGORITHMS:
        raise SettingError(
            f"{path}: algorithm must be one of {', '.join(_ALGORITHMS)}, got {tuning['algorithm']!r}"
        )
    for key, minimum in (("max_evals", 1), ("early_stop", 1), ("seed", 0)):
        value = tuning[key]
        if (value is not None or _DEFAULTS[key] is not None) and (type(value) is not int or value < minimum):
            raise SettingError(f"{path}: {key} must be an integer from {minimum}, got {value!r}")


def _check_settings(base: dict[str, Any], space: list[Draw], path: Path) -> bool:
    """Refuses invalid values before any trial runs; returns whether a higher validation score is better."""
    from recbole.config import Config

    for draw in space:
        if draw.name in base:
            raise SettingError(
                f"{path}: {draw.name} is both in settings (or on the command line) and in space; leave one out"
            )
    # A setting may need one that is in the space
    trial = {**base, **{draw.name: next(draw.bounds()) for draw in space}, "state": "error"}
    variants = [{**trial, draw.name: value} for draw in space for value in draw.bounds()]
    try:
        configs = [Config(config_dict=quote_strings(variant)) for variant in variants]
    except SettingError as error:
        raise SettingError(f"{path}: settings and space: {error}") from error
    metrics = dict.fromkeys(str(config["valid_metric"]) for config in configs)
    if len(metrics) > 1:
        raise SettingError(
            f"{path}: space: valid_metric: scores of different metrics ({', '.join(metrics)}) cannot be compared; "
            "choose one in settings"
        )
    return bool(configs[0]["valid_metric_bigger"])

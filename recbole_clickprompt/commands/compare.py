"""Compare the recipes of best/ on a data set: does any of them help on it?

Trivial baselines, logistic regression, the plain backbone, and every recipe that the data set can be used with,
each after the same number of trials of a search by validation AUC, then with several seeds. Prints a table and one
sentence of advice, and writes the trials, the runs, the settings found for each recipe (<recipe>.yaml, for
--config_files) and report.html into results/compare-NAME/, or with --key=value into a folder beside it.

The first trial of a recipe has the settings of its property file. The time of these trials decides how many
trials and seeds fit into --minutes; two rounds over all recipes always run, and a line says if they take longer.
Trial i of all recipes has the same searched settings. The same command continues an interrupted comparison. With
more than half a million rows, larger batches, fewer passes or a sample of the training rows save most of the time,
as with --train_batch_size=4096 --epochs=3 --train_rows=200000.

--key=value is a setting of all recipes, which is then not searched, such as --cold_start=item_id to ask about new
items, or --knowledge=[FILE] for the recipe that reads a teacher's answers about your items (recbole-cp teach).
./props/best/recipes.yaml takes the place of the shipped list of recipes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.options import dataset_name, parse_settings
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.files import write_text
from recbole_clickprompt.host.properties import find_file

if TYPE_CHECKING:
    import pandas as pd

    from recbole_clickprompt.tuning.recipes import Recipe, Recipes
    from recbole_clickprompt.tuning.trials import Trials

__all__ = ["add_arguments", "execute"]

_RECIPES = "best/recipes.yaml"
_SEARCH_SEED = 1  # of all trials; the runs that are compared have others
_FIRST_SEED = 2
_QUIET = {"state": "warning"}  # many runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, the time, and whether language models may run for every row."""
    parser.add_argument("dataset", metavar="NAME", help="the data set")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="time for searches and runs together (default: %(default)g)"
    )
    parser.add_argument(
        "--plm", action="store_true", help="also recipes in which a language model reads every row (much slower)"
    )


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Searches, runs, and prints the comparison and the advice.

    Raises:
        SettingError: An argument or setting is invalid, or hyperopt is not installed.
        DataError: The baseline cannot be trained on the data set.
    """
    from recbole_clickprompt.evaluation.advice import advise, compare_results
    from recbole_clickprompt.tuning.recipes import DECIDED, plan_rounds, read_recipes
    from recbole_clickprompt.tuning.results import digest
    from recbole_clickprompt.tuning.seeds import run_cells

    if not 0 < options.minutes < math.inf:
        raise SettingError(f"--minutes must be finite and above 0, got {options.minutes:g}")
    dataset = dataset_name(options.dataset)
    given = parse_settings(settings)
    if taken := next((name for name in (*DECIDED, "model", "backbone") if name in given), None):
        raise SettingError(f"compare decides {taken}; leave out --{taken}")
    folder = Path("results") / f"compare-{dataset}{f'-{digest(given)[:8]}' if given else ''}"
    given["valid_metric"] = "AUC"
    recipes = read_recipes(find_file(_RECIPES, "file of recipes"), given, dataset=dataset, plm=options.plm)
    _check_recorded(folder, recipes.recipes)
    baseline = recipes.recipes[0].name
    searches, left_out = _first_trials(recipes, folder, minutes=options.minutes)
    minutes = sum(search.minutes() for search in searches.values())
    trials, seeds = plan_rounds(options.minutes, minutes)
    print(f"compare: one trial of each took {minutes:.1f} minutes; {trials} trials and {seeds} seeds", flush=True)
    for number in range(1, trials):
        values = recipes.draw(number, seed=_SEARCH_SEED)
        for search in searches.values():
            search.run(values)
    chosen = [recipe for recipe in recipes.recipes if recipe.name in searches]
    best = {recipe.name: searches[recipe.name].best(list(recipe.first)) for recipe in chosen}
    cells = [
        ({"run": recipe.name, "seed": seed}, {**_QUIET, **recipe.settings, **best[recipe.name], "seed": seed})
        for seed in range(_FIRST_SEED, _FIRST_SEED + seeds)
        for recipe in chosen
    ]
    results = run_cells(cells, folder / "runs.csv", command="compare")
    text, models, trivial = compare_results(results, baseline=baseline)
    files = {recipe.name: folder / f"{recipe.file_name}.yaml" for recipe in chosen}
    for recipe in chosen:
        _write_settings(recipe, best[recipe.name], files[recipe.name])
    print(f"\n{text}\n")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    _write_report(results, folder / "report.html", baseline=baseline)
    name, sentence = advise(models, trivial, baseline=baseline)
    print(sentence)
    if name in files:
        print(f"train it: recbole-cp run --config_files={files[name]} --dataset={dataset}")


def _check_recorded(folder: Path, recipes: Sequence[Recipe]) -> None:
    """Checks that the runs of a comparison that is continued are there, and read the files that there are now.

    Raises:
        DataError: They do not.
    """
    from recbole_clickprompt.tuning.data_files import check_same_data, data_digest
    from recbole_clickprompt.tuning.results import read_results

    table = folder / "runs.csv"
    runs = read_results(table, ["run", "checkpoint"])
    for recipe in recipes:
        trials = read_results(folder / "trials" / f"{recipe.file_name}.csv", [])
        now = data_digest(recipe.settings)
        for rows in (trials, runs[runs["run"] == recipe.name]):
            check_same_data(rows, now, table=folder, dataset=recipe.settings["dataset"])
    for run in runs["checkpoint"].dropna():
        if not Path(run).exists():
            raise DataError(f"{run} does not exist any more; remove {table} to run its models again")


def _first_trials(recipes: Recipes, folder: Path, *, minutes: float) -> tuple[dict[str, Trials], dict[str, str]]:
    """The searches, after their first trial; and the reasons why recipes are left out.

    Warns as soon as the time of the baseline tells that two rounds over all recipes take longer than ``minutes``.

    Raises:
        DataError: The baseline fails, so there is nothing to compare with.
    """
    from recbole_clickprompt.tuning.trials import Trials

    searches, left_out = {}, {}
    for recipe in recipes.recipes:
        print(f"compare: {recipe.name}", flush=True)
        base = {**_QUIET, **recipe.settings, "seed": _SEARCH_SEED}
        table = folder / "trials" / f"{recipe.file_name}.csv"
        search = Trials(base, table, bigger=True, command="compare", keep_failures=False)
        if math.isfinite(search.run(recipe.first)):
            searches[recipe.name] = search
            expected = 2 * len(recipes.recipes) * search.minutes()
            if len(searches) == 1 and expected > minutes:
                print(
                    f"compare: this took {search.minutes():.1f} minutes, so two rounds over {len(recipes.recipes)}"
                    f" recipes take {expected:.0f} or more, not {minutes:g}; larger batches (--train_batch_size),"
                    " fewer passes (--epochs) and a sample of the rows (--train_rows) take less",
                    flush=True,
                )
        else:
            left_out[recipe.name] = str(search.requested()["error"].iloc[0])
            if not searches:
                raise DataError(f"{recipe.name}: {left_out[recipe.name]}")
    return searches, left_out


def _write_settings(recipe: Recipe, values: dict[str, Any], file: Path) -> None:
    """Everything that a recipe was run with but the data set and the seed, as a property file."""
    import yaml

    settings = {name: value for name, value in recipe.settings.items() if name != "dataset"}
    write_text(file, yaml.safe_dump({**settings, **values}, sort_keys=False))


def _write_report(results: pd.DataFrame, file: Path, *, baseline: str) -> None:
    """The page of `recbole-cp report` about the runs of the first seed."""
    from recbole_clickprompt.commands import report

    rows = results[results["seed"] == _FIRST_SEED]
    runs = [f"{name}={path}" for name, path in zip(rows["run"], rows["checkpoint"], strict=True)]
    report.execute(
        argparse.Namespace(runs=runs, baseline=baseline, out=file, samples=1000, latency=None, attention=None), []
    )

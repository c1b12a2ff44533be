"""What a comparison on a data set means for it: a table, and one sentence of advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.baselines import grid_baselines
from recbole_clickprompt.evaluation.clustered import CLUSTERED_NOTE, compare_methods, quality_table
from recbole_clickprompt.evaluation.comparison import check_same_rows
from recbole_clickprompt.evaluation.metrics import auc
from recbole_clickprompt.evaluation.run_folder import RunFolder, open_run
from recbole_clickprompt.evaluation.summary import markdown, summarize
from recbole_clickprompt.evaluation.tables import percent

__all__ = ["Outcome", "advise", "compare_results"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Outcome:
    """A model or trivial baseline of a comparison, with means over seeds.

    Attributes:
        valid_auc: AUC on validation rows, which decides.
        test_auc: AUC on test rows, which is reported.
        p: Of its test AUC against the baseline's; nan if it was not tested.
    """

    valid_auc: float
    test_auc: float
    p: float = float("nan")


def advise(models: Mapping[str, Outcome], trivial: Mapping[str, Outcome], *, baseline: str) -> tuple[str, str]:
    """What to use, chosen on validation rows and judged on test rows.

    Args:
        models: By name, the baseline among them.
        trivial: Trivial baselines, by name.
        baseline: The plain model, which needs the least.

    Returns:
        The name of the model or trivial baseline to use, and a sentence that says why.
    """
    name, sentence = _advise_model(models, baseline)
    simple = max(trivial, key=lambda other: trivial[other].valid_auc, default=None)
    if simple is None or trivial[simple].valid_auc < models[name].valid_auc:
        return name, sentence
    figures = (
        f"AUC {trivial[simple].valid_auc:.4f} against {models[name].valid_auc:.4f} of the {name} on the "
        f"validation rows, {trivial[simple].test_auc:.4f} against {models[name].test_auc:.4f} on the test rows"
    )
    if trivial[simple].test_auc >= models[name].test_auc:
        return simple, (
            f"Use {simple}, which is better than the {name}: {figures}. Runs list its scores and do not save it; "
            "more rows, more passes over them, or more fields of users and items may change that."
        )
    return name, f"{sentence} Do not rely on it: {simple} is better in part ({figures})."


def _advise_model(models: Mapping[str, Outcome], baseline: str) -> tuple[str, str]:
    """What to use of the models alone."""
    best = max(models, key=lambda name: models[name].valid_auc)
    if best == baseline:
        return baseline, (
            f"Stay with the {baseline}: no recipe is better on the validation rows; its AUC on the test rows is "
            f"{models[baseline].test_auc:.4f}."
        )
    chosen, base = models[best], models[baseline]
    figures = (
        f"test AUC {chosen.test_auc:.4f} against {base.test_auc:.4f} of the {baseline} "
        f"({percent(chosen.test_auc / base.test_auc - 1)}"
    )
    significant = chosen.p < _SIGNIFICANT
    if significant and chosen.test_auc > base.test_auc:
        return best, f"Use {best}: {figures}, p {chosen.p:.2g})."
    on_test = f"{'significantly worse' if significant else 'not significantly better'} on the test rows"
    reason = "not tested: one seed" if chosen.p != chosen.p else f"p {chosen.p:.2g}"
    return baseline, (
        f"Stay with the {baseline}: {best} is best on the validation rows, but {on_test}, {figures}, {reason})."
    )


def compare_results(results: pd.DataFrame, *, baseline: str) -> tuple[str, dict[str, Outcome], dict[str, Outcome]]:
    """Compares runs over users, if all seeds have the same rows, and over seeds.

    Args:
        results: One row per run and seed, with columns ``run``, ``seed``, ``auc``, ``logloss`` and ``checkpoint``.
        baseline: The run that others are compared with.

    Returns:
        Tables as Markdown, the outcomes of the runs, and those of trivial baselines. p-values are those over
        users, or over seeds where each seed has other rows.

    Raises:
        DataError: A run has no predictions.
    """
    if _same_rows(results[results["run"] == baseline]):
        lines = compare_methods(results, baseline=baseline)
        text, tests = f"{quality_table(lines)}\n\n{CLUSTERED_NOTE}", lines.set_index("run")["p_users"]
    else:
        lines = summarize(results, by=[], baseline=baseline)
        text, tests = markdown(lines, by=[]), lines.set_index("run")["p"]
    trivial = grid_baselines(results, by=[])
    if len(trivial):
        text += f"\n\nbaselines:\n\n{markdown(summarize(trivial, by=[], baseline=None), by=[])}"
    runs = [(str(row["run"]), open_run(Path(row["checkpoint"]))) for row in results.to_dict("records")]
    models = pd.DataFrame(
        [{"name": name, "valid": _auc(run, "valid"), "test": _auc(run, "test")} for name, run in runs]
    )
    simple = pd.DataFrame(
        [
            {"name": name, "valid": splits["valid"]["auc"], "test": splits["test"]["auc"]}
            for _, run in runs
            for name, splits in run.info["baselines"].items()
        ],
        columns=["name", "valid", "test"],
    )
    return text, _means(models, tests.to_dict()), _means(simple, {})


def _same_rows(runs: pd.DataFrame) -> bool:
    """Whether the test rows of one model are equal with all seeds, which draw them in some splits."""
    tables = {path: open_run(Path(path)).predictions("test") for path in runs["checkpoint"]}
    try:
        check_same_rows(tables)
    except DataError:
        return False
    return True


def _auc(run: RunFolder, split: str) -> float:
    rows = run.predictions(split)
    return auc(rows["label"], rows["score"])


def _means(lines: pd.DataFrame, p: Mapping[str, float]) -> dict[str, Outcome]:
    return {
        str(name): Outcome(group["valid"].mean(), group["test"].mean(), p.get(str(name), float("nan")))
        for name, group in lines.groupby("name", sort=False)
    }

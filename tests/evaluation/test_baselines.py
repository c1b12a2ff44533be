import pandas as pd
import pytest

from recbole_clickprompt.evaluation.baselines import (
    baseline_tables,
    better_baseline,
    better_baselines,
    grid_baselines,
    measure_baselines,
)
from recbole_clickprompt.evaluation.run_info import write_info

ROWS = pd.DataFrame(
    {"split": "test", "user": [*"aabb"], "item": [*"ijij"], "label": [1, 0, 1, 0], "time": 0, "score": 0.5}
)
# AUC 1, 0.5 and 0
SCORED = ROWS.assign(
    baseline_item_mean=[0.9, 0.1, 0.8, 0.2],
    baseline_user_mean=0.5,
    baseline_logistic_regression=[0.1, 0.9, 0.2, 0.8],
)


def test_baselines_of_equal_runs_are_listed_once():
    tables = baseline_tables({"a": SCORED, "b": SCORED.assign(score=0.7), "old": ROWS})
    assert list(tables) == ["item mean", "user mean", "logistic regression"]
    assert tables["item mean"]["score"].tolist() == [0.9, 0.1, 0.8, 0.2]
    assert tables["item mean"]["label"].tolist() == [1, 0, 1, 0]


def test_baselines_of_different_rows_are_named_by_their_run():
    other = SCORED.assign(baseline_user_mean=0.6)
    assert list(baseline_tables({"a": SCORED, "b": other})) == [
        "item mean", "user mean, a", "user mean, b", "logistic regression"
    ]  # fmt: skip


def test_a_run_may_have_the_name_of_a_baseline():
    assert next(iter(baseline_tables({"item mean": SCORED}))) == "item mean, baseline"


def test_runs_without_baselines_have_none():
    assert baseline_tables({"old": ROWS}) == {}
    assert measure_baselines({}) == {}


def test_metrics_of_baselines():
    found = measure_baselines({"test": SCORED})
    assert {name: splits["test"]["auc"] for name, splits in found.items()} == {
        "item mean": 1.0, "user mean": 0.5, "logistic regression": 0.0
    }  # fmt: skip
    assert found["item mean"]["test"]["gauc"] == 1.0


def test_the_best_baseline_that_beats_a_model_is_named():
    sentence = "Item mean beats DCNV2 on the validation rows: AUC 0.8000 against 0.7500."
    assert better_baseline("DCNV2", 0.75, {"user mean": 0.76, "item mean": 0.8}) == sentence
    assert better_baseline("DCNV2", 0.8, {"item mean": 0.8}) == ""
    assert better_baseline("DCNV2", float("nan"), {"item mean": 0.8}) == ""
    assert better_baseline("DCNV2", 0.5, {}) == ""


def test_only_runs_that_are_beaten_get_a_sentence():
    perfect = SCORED.assign(score=SCORED["label"].astype(float))
    runs = {"bad": SCORED, "good": perfect, "old": ROWS, "none": SCORED.iloc[:0]}
    assert better_baselines(runs) == [
        "Item mean beats bad on the validation rows: AUC 1.0000 against 0.5000."
    ]  # fmt: skip


@pytest.fixture
def grid(tmp_path):
    """A grid's table of two runs and two seeds with the item mean's AUC, which ``make`` sets by run and seed."""

    def make(auc):
        lines = []
        for run in ("a", "b"):
            for seed in (1, 2):
                folder = tmp_path / f"{run}{seed}"
                metrics = {"auc": auc(run, seed), "logloss": 0.5, "gauc": 0.6}
                write_info(
                    folder,
                    {
                        "model": "m", "dataset": "d", "backbone": "b", "seed": seed, "settings": {}, "command": [],
                        "checkpoint": f"{run}{seed}.pth", "train_counts": "t.parquet",
                        "baselines": {"item mean": {"valid": metrics, "test": metrics}},
                    },
                )  # fmt: skip
                lines.append({"run": run, "size": 8, "seed": seed, "checkpoint": str(folder.with_suffix(".pth"))})
        return pd.DataFrame(lines)

    return make


def test_runs_of_a_grid_share_a_baseline(grid):
    found = grid_baselines(grid(lambda run, seed: 0.7 + seed / 100), by=["size"])
    assert found.to_dict("list") == {
        "run": ["item mean"] * 2, "seed": [1, 2], "auc": [0.71, 0.72], "logloss": [0.5, 0.5]
    }  # fmt: skip


def test_runs_of_a_grid_on_other_rows_have_their_own(grid):
    found = grid_baselines(grid(lambda run, seed: 0.7 if run == "a" else 0.6), by=["size"])
    assert found["run"].tolist() == ["item mean, a, 8"] * 2 + ["item mean, b, 8"] * 2


def test_runs_of_a_grid_that_were_removed_are_left_out(grid, tmp_path):
    table = grid(lambda run, seed: 0.7)
    table.loc[len(table)] = ["c", 8, 1, "saved/nowhere.pth"]
    table.loc[len(table)] = ["recbole", 8, 1, None]
    assert len(grid_baselines(table, by=["size"])) == 2

"""Comparison of methods over users and seeds, on run folders written by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.clustered import compare_methods, quality_table
from recbole_clickprompt.evaluation.metrics import auc
from recbole_clickprompt.evaluation.run_info import write_info
from recbole_clickprompt.evaluation.run_tables import write_predictions

USERS = np.repeat([f"u{number}" for number in range(40)], 6)
LABELS = np.random.default_rng(0).integers(2, size=240)


def write_run(folder, scores, users=USERS):
    """A finished run on 240 test rows of 40 users."""
    rows = {"split": "test", "user": users, "item": "i", "label": LABELS, "time": range(240), "score": scores}
    write_predictions(folder, pd.DataFrame(rows))
    write_info(
        folder,
        {
            "model": "M", "dataset": "d", "backbone": "DNN", "seed": 1, "settings": {}, "command": [],
            "checkpoint": f"{folder.name}.pth", "train_counts": "train_counts.parquet",
        },
    )  # fmt: skip
    return str(folder)


@pytest.fixture
def results(tmp_path):
    """A baseline that guesses, a run that is better for most users, and one that equals the baseline."""
    random, rows = np.random.default_rng(1), []
    for seed in (1, 2, 3):
        noise = random.random(240)
        scores = {"base": noise, "better": 0.6 * noise + 0.4 * LABELS * random.random(240), "same": noise}
        rows += [
            {"run": run, "seed": seed, "checkpoint": write_run(tmp_path / f"{run}-{seed}", values)}
            for run, values in scores.items()
        ]
    return pd.DataFrame(rows)


def scores_of(results, run):
    rows = results[results["run"] == run]
    return [pd.read_parquet(f"{folder}/predictions.parquet")["score"] for folder in rows["checkpoint"]]


def test_metrics_are_means_over_seeds_and_tests_are_against_the_baseline(results):
    table = compare_methods(results, baseline="base", samples=200).set_index("run")
    aucs = {run: [auc(LABELS, score) for score in scores_of(results, run)] for run in ("base", "better")}
    assert table.loc["better", "auc"] == pytest.approx(np.mean(aucs["better"]))
    assert table.loc["better", "auc_sd"] == pytest.approx(np.std(aucs["better"], ddof=1))
    base, better = np.mean(aucs["base"]), np.mean(aucs["better"])
    assert table.loc["better", "relative_auc"] == pytest.approx(better / base - 1)
    assert table.loc["better", "rela_impr"] == pytest.approx((better - 0.5) / (base - 0.5) - 1, nan_ok=base <= 0.5)
    # two runs are compared, of which this one is surer
    assert table.loc["better", "p_seeds"] == pytest.approx(2 * ttest_rel(aucs["better"], aucs["base"]).pvalue)
    assert table.loc["better", "p_users"] == pytest.approx(2 * 2 / 201)
    assert table.loc["same", ["p_users", "p_seeds"]].tolist() == [1.0, 1.0]
    assert table.loc["base", ["relative_auc", "rela_impr", "p_users", "p_seeds"]].isna().all()
    text = quality_table(table.reset_index())
    assert text.splitlines()[2].count("±") == 3
    assert text.splitlines()[2].endswith("|  |  |  |  |")


def test_one_seed_has_no_test_over_seeds(results):
    table = compare_methods(results[results["seed"] == 1], baseline="base", samples=50).set_index("run")
    assert table["p_seeds"].isna().all()
    assert table["p_users"].notna().tolist() == [False, True, True]


def test_runs_on_different_rows_or_without_a_folder_are_refused(results, tmp_path):
    other = results.copy()
    other.loc[4, "checkpoint"] = write_run(tmp_path / "other", np.full(240, 0.5), users=USERS[::-1])
    with pytest.raises(DataError, match=r"base, seed 1 and better, seed 2 were tested on different rows"):
        compare_methods(other, baseline="base", samples=5)
    other.loc[4, "checkpoint"] = None
    with pytest.raises(DataError, match=r"run 'better', seed 2, has no run folder"):
        compare_methods(other, baseline="base", samples=5)

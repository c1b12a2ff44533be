import math
import re

import pandas as pd
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.summary import markdown, summarize

RESULTS = pd.DataFrame(
    [
        ("plain", "A", 1, 0.70, 0.60),
        ("plain", "A", 2, 0.72, 0.58),
        ("plain", "A", 3, 0.74, 0.56),
        ("ours", "A", 1, 0.71, 0.59),
        ("ours", "A", 2, 0.74, 0.57),
        ("ours", "A", 3, 0.77, 0.55),
        ("plain", "B", 1, 0.50, 0.70),
        ("ours", "B", 1, 0.60, 0.65),
    ],
    columns=["run", "backbone", "seed", "auc", "logloss"],
)


@pytest.fixture
def summary():
    return summarize(RESULTS, by=["backbone"], baseline="plain").set_index(["run", "backbone"])


def test_means_and_spreads_over_seeds(summary):
    line = summary.loc[("plain", "A")]
    assert line["seeds"] == 3
    assert line["auc"] == pytest.approx(0.72)
    assert line["auc_sd"] == pytest.approx(0.02)
    assert line["logloss_sd"] == pytest.approx(0.02)


def test_improvement_is_relative_to_the_baseline_with_equal_settings(summary):
    assert summary.loc[("ours", "A"), "improvement"] == pytest.approx(100 * (0.74 / 0.72 - 1))
    assert summary.loc[("ours", "B"), "improvement"] == pytest.approx(20.0)
    assert math.isnan(summary.loc[("plain", "A"), "improvement"])


def test_p_is_that_of_a_paired_t_test(summary):
    # differences 0.01, 0.02, 0.03: t = 0.02 / (0.01 / sqrt 3) = 3.4641, two degrees of freedom
    t = 2 * math.sqrt(3)
    expected = 1 - t / math.sqrt(t * t + 2)  # closed form of the two-sided p for two degrees of freedom
    assert summary.loc[("ours", "A"), "p"] == pytest.approx(expected)
    assert math.isnan(summary.loc[("ours", "B"), "p"])


def test_the_table_reads_as_markdown(summary):
    lines = markdown(summary.reset_index(), by=["backbone"]).splitlines()
    assert lines[0] == "| model | backbone | seeds | AUC | LogLoss | relative AUC | p |"
    assert "| ours | A | 3 | 0.7400 ± 0.0300 | 0.5700 ± 0.0200 | +2.78 % | 0.074 |" in lines
    assert "| plain | B | 1 | 0.5000 | 0.7000 |  |  |" in lines


def test_a_setting_that_is_varied_from_null_on_is_compared_within_null_too():
    """A missing number makes the column float, and equals nothing, itself included."""
    rows = [
        ("plain", None, 1, 0.5, 0.7),
        ("ours", None, 1, 0.6, 0.7),
        ("plain", 2, 1, 0.5, 0.7),
        ("ours", 2, 1, 0.7, 0.7),
    ]
    results = pd.DataFrame(rows, columns=["run", "plm_interaction_layers", "seed", "auc", "logloss"])
    found = summarize(results, by=["plm_interaction_layers"], baseline="plain")
    assert found.loc[found["run"] == "ours", "improvement"].tolist() == pytest.approx([20.0, 40.0])
    *_, without, _, with_two = markdown(found, by=["plm_interaction_layers"]).splitlines()
    assert without.startswith("| ours | None | 1 |")
    assert with_two.startswith("| ours | 2 | 1 |")


@pytest.mark.parametrize("row", [RESULTS.iloc[3], RESULTS.iloc[0], RESULTS.iloc[0].replace(0.70, 0.71)])
def test_a_seed_that_comes_twice_is_refused_and_never_paired_twice(row):
    twice = pd.concat([RESULTS, row.to_frame().T], ignore_index=True)
    told = f"run {row['run']}, backbone A, seed 1 has 2 rows, but a seed may count only once"
    with pytest.raises(DataError, match=re.escape(told)):
        summarize(twice, by=["backbone"], baseline="plain")


def test_a_seed_that_comes_twice_is_refused_also_under_a_missing_setting():
    rows = [("plain", None, 1, 0.5, 0.7), ("plain", None, 1.0, 0.6, 0.7)]
    results = pd.DataFrame(rows, columns=["run", "plm_interaction_layers", "seed", "auc", "logloss"])
    with pytest.raises(DataError, match="plm_interaction_layers None, seed 1 has 2 rows"):
        summarize(results, by=["plm_interaction_layers"], baseline=None)

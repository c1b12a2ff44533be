import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.metrics import (
    auc,
    calibration,
    expected_calibration_error,
    gauc,
    log_loss,
    measure,
    predicted_over_observed,
    rela_impr,
    relative_auc,
    row_losses,
)


def test_auc_counts_pairs_and_ties_half():
    # of the pairs .9>.8, .9>.1, .3<.8, .3>.1 three are in order
    assert auc([1, 0, 1, 0], [0.9, 0.8, 0.3, 0.1]) == Fraction(3, 4)
    assert auc([1, 0], [0.5, 0.5]) == Fraction(1, 2)
    # .7 ties with .7 and beats .1, .2 loses and wins: 1/2 + 1 + 0 + 1 of four
    assert auc([1, 1, 0, 0], [0.7, 0.2, 0.7, 0.1]) == Fraction(5, 8)


def test_one_class_has_no_auc_but_a_log_loss():
    assert math.isnan(auc([1, 1], [0.2, 0.3]))
    assert math.isnan(auc([], []))
    assert log_loss([1, 1], [0.5, 0.25]) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert math.isnan(log_loss([], []))


def test_row_losses_add_up_to_the_log_loss_and_stay_finite():
    label, score = [1, 0, 1, 0], [0.5, 0.75, 0.0, 1.0]
    losses = row_losses(label, score)
    assert losses[:2] == pytest.approx([math.log(2), math.log(4)])
    assert np.isfinite(losses).all()
    assert losses.mean() == pytest.approx(log_loss(label, score), rel=1e-12)


def test_gauc_weighs_users_by_their_rows_and_leaves_out_those_of_one_class():
    user = ["a", "b", "c", "a", "b", "c", "b"]
    label = [1, 1, 1, 0, 0, 1, 0]
    score = [0.9, 0.5, 0.1, 0.1, 0.5, 0.9, 0.7]
    # a orders its pair; b ties one pair of two and loses the other; c has positive rows alone
    assert gauc(user, label, score) == pytest.approx(float((2 * 1 + 3 * Fraction(1, 4)) / 5))


def test_gauc_is_auc_for_one_user_and_leaves_out_rows_without_one():
    label, score = [1, 0, 1, 0], [0.9, 0.8, 0.3, 0.1]
    assert gauc(["a"] * 4, label, score) == Fraction(3, 4)
    assert gauc(["a", "a", "a", "a", None], [*label, 0], [*score, 1.0]) == Fraction(3, 4)
    assert math.isnan(gauc([None] * 4, label, score))
    assert math.isnan(gauc(["a", "b", "c", "d"], label, score))


def test_calibration_of_two_bins():
    label, score = [0, 1, 1, 1], [0.1, 0.3, 0.6, 1.0]
    table = calibration(label, score, bins=2)
    assert table.to_numpy() == pytest.approx(
        np.array([[0, 0.5, 2, 0.2, 0.5], [0.5, 1, 2, 0.8, 1.0]])  # low, high, rows, predicted, observed
    )
    assert expected_calibration_error(label, score, bins=2) == pytest.approx((2 * 0.3 + 2 * 0.2) / 4)
    assert calibration(label, score, bins=10)["low"].tolist() == [0.1, 0.3, 0.6, 0.9]


def test_predicted_over_observed():
    assert predicted_over_observed([1, 0, 0, 1], [0.9, 0.6, 0.7, 0.8]) == pytest.approx(1.5)
    assert math.isnan(predicted_over_observed([0, 0], [0.9, 0.6]))


def test_relative_improvements_of_the_papers_numbers():
    # ClickPrompt's Table 2, ML-1M; and Table 2 of the paper on RelaImpr, DIN over DeepFM
    assert 100 * relative_auc(0.8499, 0.8439) == pytest.approx(0.71, abs=0.005)
    assert 100 * rela_impr(0.7792, 0.7763) == pytest.approx(1.05, abs=0.005)
    assert math.isnan(rela_impr(0.6, 0.5))
    assert math.isnan(relative_auc(0.6, 0.0))


def test_measure_gives_all_and_refuses_what_are_no_scores():
    table = pd.DataFrame({"user": ["a", "a"], "label": [1, 0], "score": [0.75, 0.25]})
    assert measure(table, bins=1) == {
        "rows": 2, "positive_rate": 0.5, "auc": 1.0, "logloss": pytest.approx(-math.log(0.75)), "gauc": 1.0,
        "ece": 0.0, "predicted_over_observed": 1.0,
    }  # fmt: skip
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(DataError, match="from 0 to 1"):
            measure(table.assign(score=[wrong, 0.5]))
    with pytest.raises(DataError, match="no rows"):
        measure(table[:0])

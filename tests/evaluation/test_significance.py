import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.metrics import auc, log_loss
from recbole_clickprompt.evaluation.significance import bootstrap, delong_test, holm, interval, two_sided

rows = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=24
).filter(lambda rows: 2 <= sum(label for label, *_ in rows) <= len(rows) - 2)  # fmt: skip


def by_hand(label, *runs):
    """AUCs and variance of their difference, pair by pair and in fractions, as DeLong et al. define them."""
    areas, placed = [], []
    for score in runs:
        positive = [s for s, y in zip(score, label, strict=True) if y]
        negative = [s for s, y in zip(score, label, strict=True) if not y]
        pairs = [[Fraction(int(x > y) * 2 + int(x == y), 2) for y in negative] for x in positive]
        rows = [sum(line) / len(negative) for line in pairs]
        columns = [sum(line) / len(positive) for line in zip(*pairs, strict=True)]
        areas.append(sum(rows) / len(positive))
        placed.append((rows, columns))
    variance = Fraction(0)
    for of_a, of_b in zip(*placed, strict=True):
        differences = [a - b for a, b in zip(of_a, of_b, strict=True)]
        mean = sum(differences) / len(differences)
        variance += sum((d - mean) ** 2 for d in differences) / (len(differences) - 1) / len(differences)
    return areas, variance


def test_delong_of_four_rows():
    # The first run misplaces one pair of four: each of its placements has variance 1/8, so the difference has
    # 1/16 + 1/16, and z is -1/4 over the root of 1/8
    found = delong_test([1, 1, 0, 0], [0.8, 0.4, 0.6, 0.2], [0.7, 0.9, 0.5, 0.1])
    assert found[:3] == (0.75, 1.0, -0.25)
    assert found.standard_error == pytest.approx(math.sqrt(1 / 8))
    assert found.p == pytest.approx(math.erfc(0.25 / math.sqrt(1 / 8) / math.sqrt(2)))


@given(rows)
@settings(deadline=None, max_examples=60)
def test_delong_equals_the_definition_with_ties(rows):
    label, a, b = (list(column) for column in zip(*rows, strict=True))
    found = delong_test(label, a, b)
    areas, variance = by_hand(label, a, b)
    assert (found.auc_a, found.auc_b) == pytest.approx([float(area) for area in areas])
    assert found.standard_error**2 == pytest.approx(float(variance), abs=1e-12)


def test_runs_that_order_alike_do_not_differ_and_a_difference_without_spread_has_no_p():
    score = np.array([0.8, 0.4, 0.6, 0.2])
    assert delong_test([1, 1, 0, 0], score, score / 2).p == 1.0
    assert math.isnan(delong_test([1, 1, 0, 0], [4, 3, 2, 1], [1, 2, 3, 4]).p)


def test_delong_needs_two_rows_of_each_class():
    with pytest.raises(DataError, match="two rows of each class, got 1 positive and 2 negative"):
        delong_test([1, 0, 0], [1, 2, 3], [1, 2, 3])


@given(rows, st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_a_draw_measures_the_rows_it_drew(rows, seed):
    label, a, b = (np.array(column) for column in zip(*rows, strict=True))
    found = bootstrap(label, [a / 8, b / 8], samples=3, seed=seed)
    random = np.random.default_rng(seed)
    for draw in range(3):
        drawn = random.integers(len(label), size=len(label))
        for run, score in enumerate((a / 8, b / 8)):
            assert found.auc[draw, run] == pytest.approx(auc(label[drawn], score[drawn]), nan_ok=True)
            assert found.logloss[draw, run] == pytest.approx(log_loss(label[drawn], score[drawn]))


def test_equal_seeds_draw_equally_and_others_do_not():
    label, score = np.array([1, 0, 1, 0, 1, 0]), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    one, same, other = (bootstrap(label, [score], samples=20, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.auc, same.auc, equal_nan=True)
    assert not np.array_equal(one.logloss, other.logloss)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    inside = 0
    for trial in range(60):
        label = np.arange(200) % 2
        score = random.normal(size=200) + label  # AUC = Phi(1 / sqrt(2)) = 0.7602
        low, high = interval(bootstrap(label, [1 / (1 + np.exp(-score))], samples=200, seed=trial).auc[:, 0])
        inside += low < 0.7602 < high
    assert 52 <= inside <= 60


def test_interval_and_p_of_known_draws():
    assert interval(np.arange(101.0), confidence=0.9) == pytest.approx((5.0, 95.0))
    assert interval(np.array([np.nan, 2.0]), confidence=0.9) == (2.0, 2.0)
    assert all(math.isnan(end) for end in interval(np.array([np.nan])))
    assert two_sided(np.array([-1.0, 1.0, 2.0, 3.0, np.nan])) == pytest.approx(2 * 2 / 5)
    assert two_sided(np.ones(999)) == pytest.approx(0.002)
    assert two_sided(np.zeros(9)) == 1.0


def test_users_are_drawn_with_all_their_rows():
    label, score = np.array([1, 0, 1, 0, 1, 0]), np.array([0.9, 0.8, 0.3, 0.4, 0.2, 0.1])
    users = ["a", "a", "b", "b", "c", "c"]
    found = bootstrap(label, [score], samples=400, seed=1, clusters=users)
    pairs = [[0, 1], [2, 3], [4, 5]]
    expected = {
        (auc(label[rows], score[rows]), log_loss(label[rows], score[rows]))
        for draw in itertools.product(range(3), repeat=3)
        for rows in [[row for user in draw for row in pairs[user]]]
    }
    got = {*zip(found.auc[:, 0].round(9), found.logloss[:, 0].round(9), strict=True)}
    assert got == {(round(float(a), 9), round(float(b), 9)) for a, b in expected}


def test_equal_rows_of_a_user_do_not_make_a_difference_surer():
    # Ten users of one pair of rows each, and the same ten with every row five times
    random = np.random.default_rng(0)
    label, users = np.tile([1, 0], 10), np.repeat(np.arange(10), 2)
    a, b = random.random(20), random.random(20)

    def spread(times, clusters):
        scores = [np.tile(score, times) for score in (a, b)]
        draws = bootstrap(np.tile(label, times), scores, samples=300, seed=2, clusters=clusters).auc
        return (draws[:, 0] - draws[:, 1]).std()

    assert spread(5, np.tile(users, 5)) == pytest.approx(spread(1, users))
    assert spread(5, None) < 0.6 * spread(1, users)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    found = holm([math.nan, 0.02, math.nan])  # the family has one test
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == 0.02
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_as_the_step_down_procedure(p):
    adjusted, level, order = holm(p), 0.05, np.argsort(p, kind="stable")
    rejected = itertools.takewhile(lambda step: p[order[step]] <= level / (len(p) - step), range(len(p)))
    hits = {order[step] for step in rejected}
    clear = [i for i in range(len(p)) if abs(adjusted[i] - level) > 1e-9]
    assert {i for i in clear if adjusted[i] <= level} == {i for i in clear if i in hits}

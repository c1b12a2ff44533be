"""Laws of the sampling: shares of strata, weights, and draws that do not depend on one another."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_clickprompt.knowledge.prompts import Subject
from recbole_clickprompt.knowledge.sampling import allocate, is_development, sample, sample_weight, uniform


def subjects(number, stratum="all", prefix="i", weight=1.0):
    return [Subject(f"{prefix}{n}", "item", "text", stratum, weight) for n in range(number)]


def keys(drawn):
    return [subject.key for subject in drawn]


def test_shares_are_proportional_to_square_roots():
    assert allocate({"a": 10_000, "b": 2500, "c": 900}, 180) == {"a": 100, "b": 50, "c": 30}


def test_remainders_are_given_to_the_largest_first():
    # square roots 30, 20, 10: shares 50.5, 33.67, 16.83
    assert allocate({"a": 900, "b": 400, "c": 100}, 101) == {"a": 50, "b": 34, "c": 17}


def test_a_small_stratum_gets_eight_or_all_of_it():
    shares = allocate({"large": 10_000, "small": 20, "tiny": 3}, 60)
    assert shares == {"large": 49, "small": 8, "tiny": 3}
    # the minimum sinks with the budget
    assert allocate({"a": 100, "b": 100, "c": 2}, 9) == {"a": 4, "b": 3, "c": 2}
    assert allocate({"a": 5, "b": 5, "c": 0}, 1) == {"a": 1, "b": 0, "c": 0}


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(0, 300), max_size=8), st.data())
def test_every_allocation_keeps_its_bounds_and_its_sum(sizes, data):
    budget = data.draw(st.integers(0, sum(sizes.values())))
    shares = allocate(sizes, budget)
    assert list(shares) == list(sizes)
    assert sum(shares.values()) == budget
    assert all(0 <= shares[name] <= size for name, size in sizes.items())
    if sum(min(size, 8) for size in sizes.values()) <= budget:
        assert all(shares[name] >= min(size, 8) for name, size in sizes.items())
    ordered = sorted(sizes, key=sizes.get)
    for smaller, larger in pairwise(ordered):  # up to the rounding
        assert shares[smaller] <= shares[larger] + 1


def test_all_are_asked_about_unless_there_is_a_budget():
    everything = subjects(20)
    assert sample(everything, None, seed=1) == everything
    assert sample(everything, 20, seed=1) == everything
    assert sample(everything, 50, seed=1) == everything


def test_a_sample_is_the_same_each_time_and_another_with_another_seed():
    everything = subjects(300)
    drawn = sample(everything, 50, seed=1)
    assert drawn == sample(everything, 50, seed=1)
    assert set(keys(drawn)) != set(keys(sample(everything, 50, seed=2)))
    assert keys(drawn) == [key for key in keys(everything) if key in set(keys(drawn))]  # in their order


@given(st.integers(1, 60), st.integers(0, 3))
def test_added_subjects_do_not_redraw_the_others(added, seed):
    """Of the former draw, those that are missing made place for added ones: no other old one came in."""
    before = sample(subjects(100), 30, seed=seed)
    after = sample([*subjects(added, prefix="new"), *subjects(100)], 30, seed=seed)
    old = {key for key in keys(after) if not key.startswith("new")}
    assert old <= set(keys(before))


def test_a_larger_sample_contains_the_smaller_one():
    everything = [*subjects(200, "a"), *subjects(90, "b", "j")]
    small, large = (set(keys(sample(everything, size, seed=3))) for size in (40, 120))
    assert small <= large


def test_heavy_subjects_are_drawn_in_proportion_to_their_weights():
    """Two of each stratum of three, weights 1, 2 and 5: compared with the exact probabilities."""
    counts = np.zeros(3)
    trials = 4000
    for trial in range(trials):
        group = [Subject(f"{n}", "item", "t", "all", weight) for n, weight in enumerate((1.0, 2.0, 5.0))]
        drawn = sample(group, 1, seed=trial)
        counts[int(drawn[0].key)] += 1
    expected = np.array([1, 2, 5]) / 8
    deviation = np.abs(counts / trials - expected) / np.sqrt(expected * (1 - expected) / trials)
    assert (deviation < 4).all(), counts


def test_weights_grow_with_the_root_of_the_statistic():
    assert sample_weight(np.array([0, 3, 8])).tolist() == [1, 2, 3]


def test_one_answer_in_ten_is_held_out_and_users_are_on_one_side():
    held_out = [is_development("item", f"i{n}") for n in range(5000)]
    assert abs(np.mean(held_out) - 0.1) < 4 * math.sqrt(0.09 / 5000)
    for user in ("u1", "u2", "someone@mail"):
        assert (
            len({is_development("user", key) for key in (user, *(f"{user}@{block}" for block in range(9)))}) == 1
        )
    assert len({is_development("item", f"a@{n}") for n in range(200)}) == 2  # for items @ has no meaning


@pytest.mark.parametrize("names", [("a",), ("a", 1), ("", "")])
def test_uniform_numbers_are_functions_of_their_names(names):
    assert 0 < uniform(*names) < 1
    assert uniform(*names) == uniform(*names)
    assert uniform("a", "b") != uniform("ab")

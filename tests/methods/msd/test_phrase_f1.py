"""F1 of phrases: matching one to one, and its chance level."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recbole_clickprompt.knowledge.answers import Answer
from recbole_clickprompt.methods.msd.phrase_f1 import derangement, matched, normalized, phrase_f1


def answer(explicit, implicit=()):
    return Answer("", tuple(explicit), tuple(implicit))


def one_hot(phrases):
    """Vectors for which only equal phrases are similar."""
    return np.eye(len(phrases), dtype=np.float32)


def angles(degrees):
    """An encoder with one direction per phrase, in a plane."""

    def encode(phrases):
        radians = np.deg2rad([degrees[phrase] for phrase in phrases])
        return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)

    return encode


A, B, C = answer(["dark", "crime"], ["noir"]), answer(["toys"], ["family", "fun"]), answer(["war"], ["epic"])


def test_identical_answers_have_1_and_disjoint_ones_0():
    same = phrase_f1([A, B, C], [A, B, C], one_hot, threshold=0.8)
    assert (same.micro, same.macro) == (1.0, 1.0)
    assert (same.micro_chance, same.macro_chance) == (0.0, 0.0)
    assert same.micro_above_chance == same.macro_above_chance == 1.0
    other = phrase_f1([A, B], [B, A], one_hot, threshold=0.8)
    assert (other.micro, other.macro, other.micro_chance) == (0.0, 0.0, 1.0)


def test_micro_counts_phrases_and_macro_answers():
    found = phrase_f1([A, answer(["x"], ["y"])], [A, C], one_hot, threshold=0.8)
    assert found.micro == pytest.approx(2 * 3 / (6 + 4))
    assert found.macro == 0.5


def test_explicit_and_implicit_are_scored_separately_and_all_together():
    wrong_list = answer(["noir"], ["dark", "crime"])
    assert phrase_f1([wrong_list], [A], one_hot, threshold=0.8).micro == 1
    for kind in ("explicit", "implicit"):
        assert phrase_f1([wrong_list], [A], one_hot, threshold=0.8, kind=kind).micro == 0
        assert phrase_f1([A], [A], one_hot, threshold=0.8, kind=kind).micro == 1


def test_the_threshold_decides_and_exact_match_needs_no_vectors():
    near = angles({"dark": 0.0, "gloomy": 40.0})  # cosine .77
    values = {
        limit: phrase_f1([answer(["dark"])], [answer(["gloomy"])], near, threshold=limit).micro
        for limit in (0.7, 0.8, 0.9)
    }
    assert values == {0.7: 1.0, 0.8: 0.0, 0.9: 0.0}
    never = lambda phrases: pytest.fail("vectors were asked for")  # noqa: E731
    assert phrase_f1([answer(["Dark "])], [answer(["dark"])], never, threshold=None).micro == 1


def test_what_cannot_be_parsed_has_no_phrases_and_empty_pairs_are_left_out():
    found = phrase_f1([None, A], [B, A], one_hot, threshold=0.8)
    assert found.micro == pytest.approx(2 * 3 / (3 + 6))
    assert found.macro == 0.5
    nothing = answer([])
    both_empty = phrase_f1([nothing, A], [nothing, A], one_hot, threshold=0.8)
    assert (both_empty.micro, both_empty.macro) == (1.0, 1.0)
    assert math.isnan(phrase_f1([nothing], [nothing], one_hot, threshold=0.8).micro)


def test_greedy_matching_would_find_fewer():
    # p1 is most similar to r1, but only p1 can be matched to r2
    cosine = np.array([[0.9, 0.85], [0.8, 0.1]])
    assert matched(cosine, 0.8) == 2
    degrees = {"p1": 0.0, "p2": 60.0, "r1": 25.0, "r2": -30.0}
    found = phrase_f1([answer(["p1", "p2"])], [answer(["r1", "r2"])], angles(degrees), threshold=0.8)
    assert found.micro == 1.0


def best_matching(cosine, threshold):
    """By trying all."""
    rows, columns = cosine.shape
    if rows > columns:
        return best_matching(cosine.T, threshold)
    return max(
        (
            sum(cosine[row, column] >= threshold - 1e-6 for row, column in enumerate(chosen))
            for chosen in itertools.permutations(range(columns), rows)
        ),
        default=0,
    )


@given(arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.floats(-1, 1)))
def test_the_matching_is_the_largest(cosine):
    assert matched(cosine, 0.5) == best_matching(cosine, 0.5)
    assert matched(cosine.T, 0.5) == matched(cosine, 0.5)


phrases = st.lists(st.sampled_from([f"p{n}" for n in range(8)]), max_size=6)


@given(phrases, phrases, st.randoms())
def test_order_and_duplicates_change_nothing(one, other, random):
    degrees = {f"p{n}": 17.0 * n for n in range(8)}

    def score(left, right):
        return phrase_f1([answer(left)], [answer(right)], angles(degrees), threshold=0.8).micro

    expected = score(one, other)
    shuffled, doubled = list(one), one + one[:2]
    random.shuffle(shuffled)
    for changed in (shuffled, doubled):
        assert score(changed, other) == pytest.approx(expected, nan_ok=True)
    if expected == expected:
        assert 0 <= expected <= 1


def test_chance_pairs_each_answer_once_with_another_of_its_group():
    groups = ["item"] * 5 + ["user"] * 3 + ["other"]
    partner = derangement(groups)
    assert partner == derangement(groups)
    assert partner[-1] == -1
    assert sorted(partner[:-1]) == list(range(8))
    for one, other in enumerate(partner[:-1]):
        assert one != other
        assert groups[one] == groups[other]
    assert math.isnan(phrase_f1([A], [A], one_hot, threshold=0.8).micro_chance)


def test_phrases_that_fit_everything_score_no_more_than_chance():
    general = answer(["film"], ["story"])
    found = phrase_f1([general] * 3, [general] * 3, one_hot, threshold=0.8)
    assert (found.micro, found.micro_chance, found.micro_above_chance) == (1.0, 1.0, 0.0)


def test_normalized_phrases():
    assert normalized('  "Dark  Mood." ') == "dark mood"

"""Rounds in alternation, ratios by hand."""

import pytest
import torch

from benchmarks.stages.job import Contender
from benchmarks.stages.steps import Turn
from benchmarks.stages.timing import matrix_peak, ratios, rounds


def test_contenders_take_turns_on_the_same_rows_and_another_begins_each_round():
    calls = []

    def turn(name):
        return Turn(
            Contender(name, "ours"), 1, lambda number: number * 10, lambda rows: calls.append((name, rows))
        )

    turns = [turn("a"), turn("b")]
    told = []
    seconds = rounds(turns, repeats=2, device=torch.device("cpu"), report=told.append)
    assert calls == [("b", 10), ("a", 10), ("a", 20), ("b", 20)]
    assert told == [1, 2]
    assert [len(times) for times in seconds] == [2, 2]
    assert min(min(times) for times in seconds) > 0


def test_a_ratio_is_the_median_of_those_within_a_round():
    # seconds for 10 rows and for 20: 5, 10 and 2 rows/s against 20, 20 and 4
    seconds = [[2.0, 1.0, 5.0], [1.0, 1.0, 5.0]]
    assert ratios(seconds, [10, 20]) == pytest.approx([1.0, 2.0])
    # a round in which the machine was four times as slow changes nothing
    slow = [[8.0, 1.0, 5.0], [4.0, 1.0, 5.0]]
    assert ratios(slow, [10, 20]) == pytest.approx([1.0, 2.0])


def test_the_best_shape_counts():
    both = matrix_peak([(2, 2, 2), (256, 256, 256)], torch.float32, torch.device("cpu"))
    assert both > matrix_peak([(2, 2, 2)], torch.float32, torch.device("cpu"))

import numpy as np

from recbole_clickprompt.text.ragged import Ragged


def rows(ragged):
    return [ragged.values[a:b].tolist() for a, b in zip(ragged.offsets, ragged.offsets[1:], strict=False)]


def test_columns_join_row_by_row_and_absent_ones_add_nothing():
    first, second = Ragged.of([[1, 2], [], [3]]), Ragged.of([[7], [8, 9]])
    joined = Ragged.join([(first, np.array([0, 2, -1, 1])), (second, np.array([1, -1, 0, 0]))])
    assert rows(joined) == [[1, 2, 8, 9], [3], [7], [7]]


def test_a_column_without_any_value_joins_as_empty():
    joined = Ragged.join([(Ragged.of([]), np.array([-1, -1])), (Ragged.of([[4]]), np.array([0, -1]))])
    assert rows(joined) == [[4], []]


def test_rows_are_stacked_part_behind_part():
    stacked = Ragged.stacked([Ragged.of([[1], [2, 3]]), Ragged.of([]), Ragged.of([[], [4]])])
    assert stacked.values.tolist() == [1, 2, 3, 4]
    assert stacked.offsets.tolist() == [0, 1, 3, 3, 4]
    assert stacked.offsets.dtype == np.int64
    empty = Ragged.stacked([])
    assert (len(empty.values), empty.offsets.tolist(), empty.values.dtype) == (0, [0], np.int32)

"""Requests that arrive together are scored together, and fail alone."""

import json
import threading
import time

import numpy as np
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.serving.batcher import Batcher, Overloaded
from recbole_clickprompt.serving.json_rows import parse_rows
from tests.serving.conftest import field, preprocessing_of


class Model:
    """The score of a row is its number ``x``; -1 is an error, and -2 a fault of the program."""

    def __init__(self, hold=None):
        self.preprocessing, self.cache = preprocessing_of(field("x", "token")), None
        self.tables, self.hold = [], hold

    def score(self, table, counts):
        self.tables.append(len(table))
        if self.hold is not None:
            assert self.hold.wait(10)
        numbers = table["x"].to_pylist()
        if -1 in numbers:
            raise DataError(f"row {counts.rows + 1 + numbers.index(-1)} is wrong")
        if -2 in numbers:
            raise KeyError("fault")
        counts.rows += len(numbers)
        return np.array([float(number) for number in numbers])


def body(*numbers, **columns):
    return json.dumps(
        {"rows": [{"user_id": "a", "item_id": 1, "x": number, **columns} for number in numbers]}
    ).encode()


@pytest.fixture
def make():
    made = []

    def batcher(model, **options):
        made.append(Batcher(model, **{"max_rows": 100, "wait": 0.3, "max_waiting": 100, **options}))
        return made[-1]

    yield batcher
    for batcher in made:
        batcher.close()


def test_requests_share_a_batch_and_get_their_own_scores(make):
    batcher = make(model := Model())
    found = [batcher.submit(body(*range(number, 2 * number))) for number in range(1, 6)]
    for number, future in enumerate(found, 1):
        assert future.result(10).tolist() == list(range(number, 2 * number))
    assert model.tables == [15]
    assert (batcher.batches, batcher.counts.rows) == (1, 15)


def test_a_batch_has_at_most_so_many_rows_but_for_one_request(make):
    batcher = make(model := Model(), max_rows=4)
    found = [batcher.submit(body(*[5] * rows)) for rows in (3, 2, 2, 9, 1)]
    assert [len(future.result(10)) for future in found] == [3, 2, 2, 9, 1]
    assert model.tables == [3, 4, 9, 1]


def test_no_request_waits_longer_than_it_should(make):
    batcher = make(Model(), wait=0.2)
    started = time.monotonic()
    assert batcher.submit(body(1)).result(10).tolist() == [1]
    assert 0.15 < time.monotonic() - started < 2
    fast = make(Model(), wait=0)
    started = time.monotonic()
    for _ in range(20):
        fast.submit(body(1)).result(10)
    assert time.monotonic() - started < 2


def test_an_invalid_row_fails_its_request_alone(make, caplog):
    batcher = make(Model())
    numbers = [(1,), (2, -1), (3,), (-2,), (4, 5)]
    found = [batcher.submit(body(*row)) for row in numbers]
    with pytest.raises(DataError, match="row 2 is wrong"):  # counted in its own request
        found[1].result(10)
    with pytest.raises(KeyError):
        found[3].result(10)
    assert [found[place].result(10).tolist() for place in (0, 2, 4)] == [[1], [3], [4, 5]]
    assert "a request failed" in caplog.text
    assert batcher.counts.rows == 4


def test_requests_of_other_columns_and_types_are_batches_of_their_own(make):
    batcher = make(model := Model())
    found = [
        batcher.submit(body(1)), batcher.submit(body("2")), batcher.submit(body(3)),
        batcher.submit(b'{"rows": [{"x": 4, "item_id": 1, "user_id": "a"}]}'),
    ]  # fmt: skip
    assert [future.result(10).tolist() for future in found] == [[1], [2], [3], [4]]
    assert sorted(model.tables) == [1, 3]


def test_too_many_waiting_requests_are_refused(make):
    batcher = make(model := Model(threading.Event()), wait=0, max_waiting=2)
    first = batcher.submit(body(1))
    while not model.tables:
        time.sleep(0.001)
    waiting = [batcher.submit(body(number)) for number in (2, 3)]
    with pytest.raises(Overloaded):
        batcher.submit(body(4))
    model.hold.set()
    assert [future.result(10)[0] for future in (first, *waiting)] == [1, 2, 3]


def test_closing_finishes_what_was_submitted_and_refuses_the_rest(make):
    batcher = make(Model(), wait=5)
    found = [batcher.submit(body(number)) for number in (1, 2)]
    started = time.monotonic()
    batcher.close()
    assert time.monotonic() - started < 4
    assert [future.result(0)[0] for future in found] == [1, 2]
    with pytest.raises(Overloaded):
        batcher.submit(body(3))


def test_a_request_that_is_given_up_harms_no_other(make):
    batcher = make(model := Model(threading.Event()), wait=0)
    scored = batcher.submit(body(1))
    while not model.tables:
        time.sleep(0.001)
    assert not scored.cancel()  # its rows are being scored
    waiting = [batcher.submit(content) for content in (body(2), b"no rows", body(-1), body(3))]
    assert all(request.cancel() for request in waiting[:3])
    model.hold.set()
    assert [request.result(10)[0] for request in (scored, waiting[3], batcher.submit(body(4)))] == [1, 3, 4]
    assert sum(model.tables) == batcher.counts.rows == 3  # no row of a request that nobody waits for


def test_a_model_with_another_number_of_scores_ends_no_other_request(make, caplog):
    batcher = make(model := Model())
    right, model.score = model.score, lambda table, counts: np.zeros(0)
    found = [batcher.submit(body(number, number)) for number in (1, 2)]
    for request in found:
        with pytest.raises(RuntimeError, match="0 scores for 2 rows"):
            request.result(10)
    assert "a request failed" in caplog.text
    model.score = right
    assert batcher.submit(body(5)).result(10).tolist() == [5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the body is not JSON"),
        ("[" * 100_000, "the body is not JSON"),
        ('{"rows": [{"x": Infinity}]}', "Infinity is no number of JSON"),
        ("[1]", r'the body must be {"rows": .* got \[1\]'),
        ('{"rows": [], "x": 1}', "the body must be"),
        ('{"rows": []}', "with one or more rows"),
        ('{"rows": {"user_id": [1]}}', "with one or more rows"),
        ('{"rows": [{}]}', "the rows have no columns"),
        ('{"rows": [{"a": 1}, [2]]}', r"row 2 is \[2\]"),
        ('{"rows": [{"a": 1}, {"a": "b"}]}', "'a' has values of several types"),
        ('{"rows": [{"a": {"b": 1}}]}', "'a' must be a text, a number"),
        ('{"rows": [{"a": 1e999}, {"a": 99999999999999999999}]}', "'a' has values of several types"),
        ('{"rows": [{"a": "\\ud800"}]}', "surrogates not allowed"),
        ('{"rows": [{"a": 1}, {"a": 2, "b": 1, "a": 2}]}', "the key 'a' is twice in one object; remove one"),
        ('{"rows": [{"a": 1, "\\u0061": 2}]}', "the key 'a' is twice"),
        ('{"rows": [{"a": 1}], "rows": [{"a": 1}]}', "the key 'rows' is twice"),
        ('{"rows": [{"a": {"\\ud800": 1, "\\ud800": 2}}]}', r"the key '\\ud800' is twice"),
        ('{"rows": [{"a": ["\\ud800"]}]}', "surrogates not allowed"),
        ('{"rows": [{"a": 1}, {"b\\udfff": 1}]}', r"the name of the column 'b\\udfff' is no text"),
        ('{"rows": [{"\\ud800": {"\\ud800": 1}}]}', r"the name of the column '\\ud800' is no text"),
    ],
)
def test_bodies_that_are_no_rows(text, message):
    with pytest.raises(DataError, match=message) as error:
        parse_rows(text.encode())
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def test_rows_are_a_table_whose_lacking_values_are_missing():
    table = parse_rows(b'{"rows": [{"b": 1, "a": "x"}, {"c": [1, 2], "b": null}, {"a": ""}]}')
    assert table.to_pydict() == {"a": ["x", None, ""], "b": [1, None, None], "c": [None, [1, 2], None]}

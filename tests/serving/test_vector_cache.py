"""Vectors of texts in memory: bounds, age, threads and bytes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.serving.memory_cache import MemoryCache
from recbole_clickprompt.serving.vector_bytes import pack, unpack
from recbole_clickprompt.serving.vector_cache import CacheOptions, VectorCache


class Encoder:
    """A vector is the text's length, its number of blanks and a constant of the model."""

    vector_widths = {"user": 2, "item": 3}

    def __init__(self, name="a", *, hold=None, fail=()):
        self.name, self.calls, self.hold, self.fail = name, [], hold, list(fail)

    def encode_texts(self, level, texts):
        self.calls.append((level, tuple(texts)))
        if self.hold is not None:
            assert self.hold.wait(10)
        if self.fail:
            raise self.fail.pop()
        rows = [[len(text), text.count(" "), ord(self.name)][: self.vector_widths[level]] for text in texts]
        return torch.tensor(rows, dtype=torch.float32)

    def vectors_hash(self):
        return f"hash of {self.name}"


def vectors(**values):
    return {key: np.full(2, value, dtype=np.float32) for key, value in values.items()}


def kept(cache, keys):
    return {key: float(vector[0]) for key, vector in cache.get(list(keys)).items()}


def test_the_least_recently_used_vector_makes_room():
    cache = MemoryCache(3, 2)
    cache.put(vectors(a=1, b=2, c=3))
    assert kept(cache, "a") == {"a": 1}
    cache.put(vectors(d=4))  # b was used longest ago
    assert kept(cache, "abcd") == {"a": 1, "c": 3, "d": 4}
    cache.put(vectors(a=9))  # a known key takes its own slot
    assert kept(cache, "acd") == {"a": 9, "c": 3, "d": 4}
    expected = {"vectors": 3, "capacity": 3, "hits": 7, "misses": 1, "evictions": 1, "expired": 0}
    assert cache.counters() == expected


def test_old_vectors_are_misses_and_give_their_slot_back():
    now = [0.0]
    cache = MemoryCache(2, 2, ttl=10, clock=lambda: now[0])
    cache.put(vectors(a=1))
    now[0] = 6
    cache.put(vectors(b=2))
    assert kept(cache, "ab") == {"a": 1, "b": 2}  # a look-up does not make it younger
    now[0] = 10
    assert kept(cache, "ab") == {"b": 2}
    cache.put(vectors(c=3))
    assert kept(cache, "bc") == {"b": 2, "c": 3}
    assert (cache.expired, cache.evictions) == (1, 0)


def test_vectors_that_were_given_out_do_not_change():
    cache = MemoryCache(1, 2)
    cache.put(vectors(a=1))
    found = cache.get(["a"])["a"]
    cache.put(vectors(b=2))
    assert found.tolist() == [1, 1]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60), st.integers(0, 4))
def test_the_cache_is_a_bounded_dictionary_in_the_order_of_use(steps, capacity):
    cache, model = MemoryCache(capacity, 2), {}  # a dict keeps the order of insertion
    for number, (key, writes) in enumerate(steps):
        if writes:
            cache.put(vectors(**{key: number}))
            model.pop(key, None)
            model[key] = number
            if len(model) > capacity:
                del model[next(iter(model))]
        else:
            expected = {key: model[key]} if key in model else {}
            assert kept(cache, key) == expected
            model |= {key: model.pop(key)} if expected else {}
    assert kept(cache, "abcdef") == model
    assert len(cache) == len(model) <= capacity


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40))
def test_bytes_give_the_same_vector(numbers):
    vector = np.array(numbers, dtype=np.float32)
    assert np.array_equal(unpack(pack(vector), len(vector)), vector)
    assert unpack(pack(vector), len(vector) + 1) is None


@given(st.integers(0, 8 * 25 - 1))
def test_a_changed_bit_is_found(bit):
    value = bytearray(pack(np.arange(4, dtype=np.float32)))
    assert len(value) == 25
    value[bit // 8] ^= 1 << bit % 8
    assert unpack(bytes(value), 4) is None


@pytest.mark.parametrize("value", [b"", b"\xc5", b"x" * 25, pack(np.zeros(4))[:-1], pack(np.zeros(4)) + b"0"])
def test_other_bytes_are_no_vector(value):
    assert unpack(value, 4) is None


def test_each_text_is_encoded_once_and_in_the_order_of_the_rows():
    encoder = Encoder()
    cache = VectorCache(encoder)
    found = cache.get("item", ["a b", "long text", "a b", "c"])
    assert found.dtype == np.float32
    assert found.tolist() == [[3, 1, 97], [9, 1, 97], [3, 1, 97], [1, 0, 97]]
    assert encoder.calls == [("item", ("c", "a b", "long text"))]  # shortest first
    assert cache.get("item", ["c", "new"]).tolist() == [[1, 0, 97], [3, 0, 97]]
    assert encoder.calls[1:] == [("item", ("new",))]
    assert cache.get("item", []).shape == (0, 3)
    counters = cache.counters()
    assert counters["encoded"] == 4
    assert counters["memory"]["item"]["hits"] == 1
    assert counters["memory"]["item"]["misses"] == 4
    assert counters["redis"] == {}


def test_levels_and_models_have_keys_of_their_own():
    one, other = VectorCache(Encoder()), VectorCache(Encoder("b"))
    keys = {cache.key(level, "text") for cache in (one, other) for level in ("user", "item")}
    assert len(keys) == 4
    assert all(key.startswith("recbole-cp:") and len(key.split(":")) == 3 for key in keys)
    assert one.get("user", ["text"]).shape == (1, 2)
    assert one.get("item", ["text"]).shape == (1, 3)


def test_without_capacity_every_text_is_computed_again():
    encoder = Encoder()
    cache = VectorCache(encoder, CacheOptions(items=0))
    for _ in range(2):
        assert cache.get("user", ["a", "a"]).tolist() == [[1, 0], [1, 0]]
    assert len(encoder.calls) == 2


def test_many_texts_are_encoded_in_batches():
    encoder = Encoder()
    texts = ["x" * (1 + number % 7) + f"{number:04}" for number in range(300)]
    found = VectorCache(encoder).get("item", texts)
    assert found[:, 0].tolist() == [len(text) for text in texts]
    assert [len(texts) for _, texts in encoder.calls] == [128, 128, 44]


def waiting(cache, number):
    """Waits until so many texts wait for another thread."""
    end = time.monotonic() + 10
    while cache.waited < number and time.monotonic() < end:
        time.sleep(0.001)
    assert cache.waited == number


@pytest.mark.parametrize("items", [0, None])
def test_concurrent_equal_misses_are_computed_once(items):
    encoder = Encoder(hold=threading.Event())
    cache = VectorCache(encoder, CacheOptions(items=items))
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(cache.get, "item", ["a", "b"])
        while not encoder.calls:
            time.sleep(0.001)
        others = [pool.submit(cache.get, "item", ["b", "a", "b"]) for _ in range(3)]
        waiting(cache, 6)
        encoder.hold.set()
        assert first.result().tolist() == [[1, 0, 97], [1, 0, 97]]
        assert all(other.result().shape == (3, 3) for other in others)
    assert cache.encoded == 2
    assert len(encoder.calls) == 1


def test_an_error_reaches_every_waiter_and_is_not_kept():
    encoder = Encoder(hold=threading.Event(), fail=[RuntimeError("out of memory")])
    cache = VectorCache(encoder)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(cache.get, "item", ["a"])
        while not encoder.calls:
            time.sleep(0.001)
        others = [pool.submit(cache.get, "item", ["a"]) for _ in range(2)]
        waiting(cache, 2)
        encoder.hold.set()
        for thread in (first, *others):
            with pytest.raises(RuntimeError, match="out of memory"):
                thread.result()
    assert cache.get("item", ["a"]).tolist() == [[1, 0, 97]]


def test_threads_that_wait_for_one_another_end():
    encoder = Encoder()
    cache = VectorCache(encoder, CacheOptions(items=2))
    texts = [f"{number}" for number in range(12)]
    with ThreadPoolExecutor(8) as pool:
        found = [
            pool.submit(cache.get, "item", [*texts[step:], *texts[:step]]) for step in range(12) for _ in range(9)
        ]
        assert all(future.result(timeout=20)[:, 2].tolist() == [97] * 12 for future in found)


def test_vectors_that_are_not_finite_are_an_error_and_not_kept():
    encoder = Encoder()
    encoder.encode_texts = lambda level, texts: torch.full((len(texts), 3), float("nan"))
    cache = VectorCache(encoder)
    with pytest.raises(DataError, match=r"the vector of the item text 'a b' is not finite"):
        cache.get("item", ["a b"])
    assert cache.counters()["memory"]["item"]["vectors"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": -1}, "cache_items must be a whole number of 0 or more, got -1"),
        ({"items": True}, "cache_items must be a whole number of 0 or more, got True"),
        ({"ttl": 0}, "cache_ttl must be a number of seconds above 0, got 0"),
        ({"ttl": float("nan")}, "cache_ttl must be a number of seconds above 0, got nan"),
        ({"ttl": "1"}, "cache_ttl must be a number of seconds above 0, got '1'"),
    ],
)
def test_invalid_options_are_errors(options, message):
    with pytest.raises(SettingError, match=message):
        CacheOptions(**options)

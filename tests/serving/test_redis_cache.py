"""Vectors in a real Redis server on this machine: restarts, time-outs, damaged values, a full or absent server."""

import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress

import numpy as np
import pytest

import tests.methods.text_vectors  # noqa: F401 - registers the method
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.serving import load_model, redis_cache
from recbole_clickprompt.serving.redis_cache import RedisCache, RedisServer
from recbole_clickprompt.serving.vector_bytes import pack
from recbole_clickprompt.serving.vector_cache import CacheOptions, VectorCache
from tests.serving.test_text_vectors import unseen
from tests.serving.test_vector_cache import Encoder

redis = pytest.importorskip("redis", reason="the package redis is not installed")
pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed (apt-get install redis-server)"
)


class Server:
    """A Redis server with no files, on a port that was free."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url, self.folder, self.process = f"redis://127.0.0.1:{self.port}/0", folder, None

    def start(self, **settings):
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder}
        options |= {"maxmemory-policy": "allkeys-lru", **{k.replace("_", "-"): v for k, v in settings.items()}}
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port)
        for _ in range(500):
            with suppress(redis.ConnectionError):
                self.client.ping()
                return self
            time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path, monkeypatch):
    # A loaded machine may take longer than the time-out of a server; tests of time-outs set their own
    monkeypatch.setattr(redis_cache, "TIMEOUT", 5)
    made = Server(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def running(server):
    return server.start()


def cache_of(server, **options):
    """A cache that finds nothing in memory."""
    return VectorCache(encoder := Encoder(), CacheOptions(items=0, redis_url=server.url, **options)), encoder


def counters(cache):
    return cache.counters()["redis"]["item"]


def test_vectors_are_shared_by_processes_and_survive_them(running):
    first, encoder = cache_of(running)
    found = first.get("item", ["a b", "c"])
    assert len(encoder.calls) == 1
    second, encoder = cache_of(running)
    assert np.array_equal(second.get("item", ["c", "a b"]), found[::-1])
    assert encoder.calls == []
    expected = {"hits": 2, "misses": 0, "corrupt": 0, "refused": 0, "failures": 0, "skipped": 0}
    assert counters(second) == expected
    assert sorted(running.client.keys()) == sorted(second.key("item", t).encode() for t in ("a b", "c"))
    assert running.client.ttl(second.key("item", "c")) == -1  # without a lifetime


def test_another_model_finds_no_vectors_of_this_one(running):
    cache_of(running)[0].get("item", ["a"])
    other = VectorCache(Encoder("b"), CacheOptions(redis_url=running.url))
    assert other.get("item", ["a"]).tolist() == [[1, 0, 98]]
    assert other.encoded == 1


def test_a_hit_is_kept_in_memory(running):
    cache_of(running)[0].get("item", ["a"])
    cache = VectorCache(Encoder(), CacheOptions(redis_url=running.url))
    for _ in range(3):
        cache.get("item", ["a"])
    assert counters(cache)["hits"] == 1
    assert cache.counters()["memory"]["item"]["hits"] == 2
    assert cache.encoded == 0


def test_vectors_have_a_lifetime_if_it_is_given(running):
    cache, _ = cache_of(running, ttl=0.2)
    cache.get("item", ["a"])
    assert 0 < running.client.pttl(cache.key("item", "a")) <= 200
    time.sleep(0.3)
    cache.get("item", ["a"])
    assert cache.encoded == 2


def values(vector):
    """What another program, an older version or a broken disk may leave under a key."""
    good = pack(vector)
    return {
        "empty": b"", "text": b"hello", "cut": good[:-1], "longer": good + b"\0", "wide": pack(np.zeros(4)),
        "version": good[:1] + b"\7" + good[2:], "pickle": b"\x80\x04cos\nsystem\n.", "bit": good[:-1] + b"\xff",
        "checksum": good[:5] + b"1234" + good[9:],
    }  # fmt: skip


@pytest.mark.parametrize("damage", sorted(values(np.zeros(3))))
def test_a_damaged_value_is_a_miss_and_replaced(damage, running):
    cache, _ = cache_of(running)
    good = cache.get("item", ["a"])
    running.client.set(cache.key("item", "a"), values(good[0])[damage])
    assert np.array_equal(cache.get("item", ["a"]), good)
    assert cache.encoded == 2
    assert counters(cache)["corrupt"] == 1
    assert running.client.get(cache.key("item", "a")) == pack(good[0])


def test_a_key_that_holds_a_list_is_a_miss(running):
    cache, _ = cache_of(running)
    running.client.rpush(cache.key("item", "a"), "x")
    assert cache.get("item", ["a"]).tolist() == [[1, 0, 97]]
    assert cache.get("item", ["a"]).tolist() == [[1, 0, 97]]


def test_a_full_server_drops_old_vectors(server):
    server.start(maxmemory="2mb", maxmemory_policy="allkeys-lru")
    store = RedisCache(RedisServer(server.url), 256)
    for start in range(0, 4000, 500):
        store.put({f"key {number}": np.full(256, number) for number in range(start, start + 500)})
    assert server.client.info("stats")["evicted_keys"] > 500
    found = store.get([f"key {number}" for number in range(4000)])
    assert 300 < len(found) < 3500
    assert all((vector == int(key.split()[1])).all() for key, vector in found.items())
    assert (store.refused, store.server.failures) == (0, 0)


def test_a_full_server_that_keeps_old_vectors_refuses_new_ones_and_is_warned_about(server, caplog):
    server.start(maxmemory="2mb", maxmemory_policy="noeviction")
    cache = VectorCache(Encoder(), CacheOptions(items=0, redis_url=server.url))
    assert caplog.text.count("has maxmemory-policy noeviction; set it to allkeys-lru or allkeys-lfu") == 1
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        fill(server.client)
    assert cache.get("item", ["a"]).tolist() == [[1, 0, 97]]
    assert counters(cache)["refused"] == 1
    assert counters(cache)["failures"] == 0  # it answers, and other vectors may still be read
    server.client.flushall()
    cache.get("item", ["a"])
    cache.get("item", ["a"])
    assert counters(cache)["hits"] == 1


def fill(client):
    """Writes until the server refuses."""
    for number in range(1000):
        client.set(f"large {number}", b"x" * 10_000)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
def test_other_policies_are_not_warned_about(policy, server, caplog):
    server.start(maxmemory_policy=policy)
    cache_of(server)
    assert caplog.text == ""


def test_a_server_that_restarts_is_used_again(running, monkeypatch):
    monkeypatch.setattr(redis_cache, "PAUSE", 0.0)
    cache, _ = cache_of(running)
    expected = cache.get("item", ["a"])
    running.stop()
    assert np.array_equal(cache.get("item", ["a"]), expected)
    assert counters(cache)["failures"] == 2  # a look-up and a write
    running.start()
    assert np.array_equal(cache.get("item", ["a"]), expected)  # empty after its restart
    assert np.array_equal(cache.get("item", ["a"]), expected)
    assert counters(cache)["hits"] == 1
    assert cache.encoded == 3


def test_an_absent_server_is_not_asked_again_for_a_while(server, caplog):
    now = [100.0]
    away = RedisServer(server.url, clock=lambda: now[0])
    away.check()
    assert caplog.text.count(f"Redis at 127.0.0.1:{server.port} does not answer") == 1
    store = RedisCache(away, 3)
    for _ in range(50):
        assert store.get(["a"]) == {}
        store.put({"a": np.zeros(3)})
    assert (away.failures, away.skipped) == (1, 100)
    now[0] += 5
    server.start()
    store.put({"a": np.ones(3)})
    assert store.get(["a"])["a"].tolist() == [1, 1, 1]
    assert (away.failures, away.skipped, store.refused) == (1, 100, 50)


def test_a_server_that_stands_still_costs_one_time_out(running, monkeypatch):
    monkeypatch.setattr(redis_cache, "TIMEOUT", 0.2)
    cache, _ = cache_of(running)
    cache.get("item", ["a"])
    running.process.send_signal(signal.SIGSTOP)
    started = time.perf_counter()
    for _ in range(20):
        assert cache.get("item", ["a"]).tolist() == [[1, 0, 97]]
    assert time.perf_counter() - started < 2
    assert counters(cache)["failures"] == 1
    assert counters(cache)["skipped"] == 39  # 20 look-ups and as many writes, but for the first
    running.process.send_signal(signal.SIGCONT)
    cache._redis["item"].server._asks_again = 0
    found = cache.get("item", ["a", "b"])
    assert found.tolist() == [[1, 0, 97]] * 2  # no answer to an earlier question
    assert counters(cache)["failures"] <= 2


def test_scores_are_the_same_with_and_without_a_server(train, server):
    run = train("TextVectors", backbone="DNN")
    rows = unseen(run.rows)
    expected = load_model(run.checkpoint, cache_items=0).predict(rows)
    for state in ("down", "cold", "warm", "down"):
        if state == "cold":
            server.start()
        if server.process is not None and state == "down":
            server.stop()
        model = load_model(run.checkpoint, redis_url=server.url)
        np.testing.assert_allclose(model.predict(rows), expected, atol=1e-6, rtol=0)
        assert (model.cache.encoded == 0) == (state == "warm")


def test_the_password_of_the_url_is_not_shown(caplog):
    server = RedisServer("redis://user:secret@127.0.0.1:1/0")
    server.check()
    assert "127.0.0.1:1" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "", "redis://localhost:port"])
def test_an_invalid_url_is_an_error(url):
    with pytest.raises(SettingError, match="redis_url must begin with redis://"):
        RedisServer(url)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    with pytest.raises(SettingError, match=r"pip install 'recbole-clickprompt\[redis\]'"):
        RedisServer("redis://localhost")

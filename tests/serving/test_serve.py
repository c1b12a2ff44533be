"""``recbole-cp serve``: scores over HTTP, as ``predict`` gives them."""

import asyncio
import gzip
import http.client
import json
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import numpy as np
import pytest

import tests.methods.text_vectors  # noqa: F401 - registers the method
from benchmarks import serve as load
from benchmarks.serve import random_bodies
from recbole_clickprompt.__main__ import main
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.http_server import _listener
from tests.conftest import ROOT
from tests.forked import Program
from tests.serving.test_text_vectors import unseen

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

COMMAND = """
import sys
import tests.methods.text_vectors
from recbole_clickprompt.__main__ import main
sys.exit(main(["serve", *sys.argv[1:]]))
"""


class Client:
    """Requests to a server in a process of its own."""

    def __init__(self, program, port):
        self.program, self.port = program, port

    def ask(self, method, path, body=None, headers=None):
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def score(self, rows):
        content = rows.astype(object).where(rows.notna(), None).to_dict("records")
        return self.ask("POST", "/score", json.dumps({"rows": content}))


@contextmanager
def serving(run, *options):
    program = Program(["-c", COMMAND, str(run), "--port=0", *options])
    try:
        while not (line := program.printed()).endswith("\n") and program.is_running():
            time.sleep(0.02)
        assert re.search(r"is served at http://127\.0\.0\.1:\d+; Ctrl-C ends it", line), program.finish().stderr
        yield Client(program, int(re.search(r":(\d+);", line)[1]))
    finally:
        program.kill()


@pytest.fixture(scope="module")
def run(train):
    return train("TextVectors", backbone="DNN")


@pytest.fixture(scope="module")
def client(run):
    with serving(run.checkpoint, "--max-body=1", "--wait-ms=20", "--cache-items=1000") as client:
        yield client


def test_rows_have_the_scores_of_predict(client, run):
    rows = unseen(run.rows)
    rows.loc[::2, "item_id"] = run.rows["item_id"][::2]
    expected = load_model(run.checkpoint).predict(rows)
    status, answer = client.score(rows)
    assert status == 200
    assert list(answer) == ["scores"]
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(client.score(run.rows)[1]["scores"], run.scores, atol=1e-6, rtol=0)


def test_concurrent_requests_get_their_own_scores_from_shared_batches(client, run):
    rows = unseen(run.rows)
    expected = load_model(run.checkpoint).predict(rows)
    before = client.ask("GET", "/stats")[1]
    invalid = rows[:1].assign(nothing=1)

    def ask(number):
        return client.score(invalid if number % 10 == 7 else rows[number : number + 1])

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(120)))
    assert [status for status, _ in answers] == [400 if n % 10 == 7 else 200 for n in range(120)]
    scores = [answer["scores"][0] for status, answer in answers if status == 200]
    np.testing.assert_allclose(scores, [expected[n] for n in range(120) if n % 10 != 7], atol=1e-6, rtol=0)
    after = client.ask("GET", "/stats")[1]
    assert after["rows"] - before["rows"] == 108
    assert after["batches"] - before["batches"] < 80


def test_health_and_counters(client, run):
    assert client.ask("GET", "/health") == (200, {"status": "ok", "model": str(run.checkpoint)})
    rows = unseen(run.rows[:3])
    client.score(rows)
    before = client.ask("GET", "/stats")[1]
    assert client.score(rows)[0] == 200
    stats = client.ask("GET", "/stats")[1]
    assert stats["answers"]["200"] == before["answers"]["200"] + 1
    assert stats["rows"] == before["rows"] + 3
    assert 0 < stats["latency_ms"]["p50"] <= stats["latency_ms"]["p95"] <= stats["latency_ms"]["p99"]
    item, earlier = (found["cache"]["memory"]["item"] for found in (stats, before))
    assert item["hits"] > earlier["hits"]
    assert (item["misses"], item["capacity"]) == (earlier["misses"], 1000)
    assert stats["cache"]["encoded"] > 0
    assert any(line.startswith("user_id: ") and "training never saw" in line for line in stats["remarks"])


def test_the_load_test_counts_answers(client, run):
    bodies = random_bodies(load_model(run.checkpoint).preprocessing, rows=3, count=8)
    before = client.ask("GET", "/stats")[1]["rows"]
    seconds, latencies = asyncio.run(load.measure(client.port, bodies, 4, 0.5))
    assert client.ask("GET", "/stats")[1]["rows"] - before >= 3 * len(latencies) > 0
    lines = load.table(
        [load.Load("one", 1, 3, [(seconds, latencies)]), load.Load("two", 4, 3, [(seconds, 2 * latencies)])]
    )
    assert lines.splitlines()[-1].split("|")[-2].strip() == "2.00"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"no rows", 400, "the body is not JSON: "),
        (b"\xff\xfe", 400, "the body is not JSON: "),
        (b'{"rows": []}', 400, "the body must be "),
        (b'{"rows": [{"user_id": "1"}]}', 400, "the request has no column 'item_id'"),
        (
            b'{"rows": [{"user_id": "1", "item_id": "2", "device": null, "colour": 1}]}',
            400,
            "has a column 'colour'",
        ),
        (b'{"rows": [{"user_id": "1", "item_id": "2"}]}', 400, "has no column 'device'"),
        (b'{"rows": [{"user_id": "1", "item_id": "2", "\\ud800": 1}]}', 400, r"the column '\ud800' is no text"),
        (b'{"rows": [{"user_id": "1", "item_id": [["2"]], "device": null}]}', 400, "item_id is a token field"),
        (b'{"rows": [{"user_id": "1", "item_id": 2, "device": 1, "year": "x"}]}', 400, "year is a float field"),
        (b" " * (1 << 20) + b"1", 413, "the body has more than 1,048,576 bytes"),
    ],
)
def test_errors_are_one_line_of_json(body, status, message, client):
    found, answer = client.ask("POST", "/score", body)
    assert found == status
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert "\n" not in answer["error"]
    assert "Traceback" not in answer["error"]


def test_a_body_of_unknown_length_is_bounded_too(client):
    status, answer = client.ask("POST", "/score", iter([b" " * 100_000] * 30))  # in chunks
    assert (status, answer["error"][:22]) == (413, "the body has more than")
    assert client.ask("POST", "/score", iter([b'{"rows": ', b"[]}"]))[0] == 400


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "identity, deflate", "utf-8"])
def test_a_body_with_a_coding_is_refused_by_its_name(coding, client):
    for body in (gzip.compress(b'{"rows": []}'), b'{"rows": []}', b" " * 900_000):
        status, answer = client.ask("POST", "/score", body, {"Content-Encoding": coding})
        assert status == 415
        assert answer == {"error": f"the body has the Content-Encoding {coding!r}; send plain JSON without one"}


@pytest.mark.parametrize("coding", ["", "identity", "Identity"])
def test_a_body_without_a_coding_may_say_so(coding, client, run):
    content = json.dumps({"rows": run.rows[:2].astype(object).to_dict("records")})
    status, answer = client.ask("POST", "/score", content, {"Content-Encoding": coding})
    assert status == 200
    np.testing.assert_allclose(answer["scores"], run.scores[:2], atol=1e-6, rtol=0)


def test_what_may_be_left_out_is_what_the_help_and_the_documentation_say(client, run, capsys):
    row = {"user_id": str(run.rows["user_id"][0]), "item_id": str(run.rows["item_id"][0]), "device": None}
    assert client.ask("POST", "/score", json.dumps({"rows": [row]}))[0] == 200  # without features of user and item
    for name in row:
        without = {key: value for key, value in row.items() if key != name}
        status, answer = client.ask("POST", "/score", json.dumps({"rows": [without]}))
        assert (status, f"has no column {name!r}" in answer["error"]) == (400, True)
        alike = [
            client.ask("POST", "/score", json.dumps({"rows": [row, x]})) for x in (without, {**row, name: None})
        ]
        assert alike[0] == alike[1]
        assert alike[0][0] == 200
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for text in (words, " ".join((ROOT / "docs/serving.md").read_text().split())):
        assert "The ids and the fields of the row itself must be given, if only as null" in text.replace("`", "")
        assert "a column that is left out is" not in text


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/score", 405), ("GET", "/x", 404), ("POST", "/health", 405)]
)
def test_other_addresses_and_methods(method, path, status, client):
    found, answer = client.ask(method, path)
    assert found == status
    assert answer["error"].endswith("there are POST /score, GET /health and GET /stats")


def test_a_broken_connection_harms_no_other(client, run):
    with socket.create_connection(("127.0.0.1", client.port)) as raw:
        raw.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    with socket.create_connection(("127.0.0.1", client.port)) as raw:
        raw.sendall(b"not HTTP at all\r\n\r\n")
        assert b"400" in raw.recv(1000)
    assert client.score(run.rows[:1])[0] == 200


def test_a_port_in_use_is_one_line_of_error(client, run, capsys):
    assert main(["serve", str(run.checkpoint), f"--port={client.port}"]) == 2
    error = capsys.readouterr().err.strip()
    assert f"the server cannot listen at 127.0.0.1, port {client.port}: Address already in use" in error
    assert "\n" not in error


def test_the_second_part_of_an_answer_does_not_wait_for_an_acknowledgment():
    with _listener("127.0.0.1", 0) as listener:  # what asyncio looks at before it sets TCP_NODELAY
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--wait-ms=-1", "--wait-ms must be between 0 and 10000, got -1"),
        ("--batch-rows=0", "--batch-rows must be 1 or more, got 0"),
        ("--port=-1", "--port must be 0 or more, got -1"),
        ("--port=99999", "the server cannot listen at 127.0.0.1, port 99999"),
        ("--host=999.1.1.1", "the server cannot listen at 999.1.1.1, port 8000"),
        ("--nothing=1", "unrecognized argument --nothing=1"),
    ],
)
def test_invalid_arguments(option, message, run, capsys):
    assert main(["serve", str(run.checkpoint), option]) == 2
    assert message in capsys.readouterr().err


def test_packages_that_are_missing_are_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "nowhere.pth"]) == 2
    assert "serve needs the package uvicorn: pip install 'recbole-clickprompt[serve]'" in capsys.readouterr().err


def test_accepted_requests_are_answered_before_the_end(without_plm):
    rows = without_plm.rows[:2]
    with serving(without_plm.checkpoint, "--wait-ms=1500") as client:
        assert client.ask("GET", "/stats")[1]["cache"] is None
        with ThreadPoolExecutor(1) as pool, socket.create_connection(("127.0.0.1", client.port)) as half:
            whole = json.dumps({"rows": rows.to_dict("records")}).encode()
            half.sendall(
                f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(whole)}\r\n\r\n".encode() + whole[:9]
            )
            waiting = pool.submit(client.score, rows)
            time.sleep(0.5)
            client.program.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            half.sendall(whole[9:])
            answer = b""
            while chunk := half.recv(1000):
                answer += chunk
            status, scores = waiting.result(20)
        assert status == 200
        np.testing.assert_allclose(scores["scores"], without_plm.scores[:2], atol=1e-6, rtol=0)
        assert answer.startswith(b"HTTP/1.1 200")
        ended = client.program.finish(timeout=20)
        assert ended.returncode == 0
        assert ended.stdout.splitlines()[1:] == ["all accepted requests were answered"]
        assert "Traceback" not in ended.stderr

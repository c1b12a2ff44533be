"""A server as the teacher: a real one on this machine that behaves as badly as servers do."""

import json
import re
import threading
import time
from pathlib import Path

import pytest

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.knowledge.answer_file import AnswerFile
from recbole_clickprompt.knowledge.examples import Examples
from recbole_clickprompt.knowledge.prompts import Subject, build_prompt
from recbole_clickprompt.knowledge.records import read_records
from recbole_clickprompt.knowledge.teachers import schema
from recbole_clickprompt.knowledge.teachers.http import HttpTeacher
from recbole_clickprompt.knowledge.teaching import Lesson
from tests.knowledge.chat_server import GOOD, serve_chat

pytest.importorskip("openai", reason="the client openai is not installed (extra [teacher])")

JSON = json.dumps({"reasoning": "r", "explicit": ["a", "b", "z"], "implicit": ["c", "d", "e"]})
SECRET = "sk-very-secret"


@pytest.fixture
def server():
    with serve_chat() as chat:
        yield chat


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """The client waits half a second and more before it asks again."""
    import openai._base_client

    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(openai._base_client, "MAX_RETRY_DELAY", 0.02)


def teacher(server, **options):
    return HttpTeacher(f"{server.url}/v1", **{"timeout": 5.0, "retries": 2, **options})


def prompts(number):
    return [build_prompt(Subject(f"i{n}", "item", f"genre is g{n}.", "all"), None) for n in range(number)]


def replies(asked, number=1):
    return [reply for batch in asked.answer(prompts(number), lambda: False) for reply in batch]


def test_answers_come_with_tokens_and_time(server):
    asked = teacher(server)
    found = replies(asked, 3)
    assert {reply.prompt.subject.key for reply in found} == {"i0", "i1", "i2"}
    reply = found[0]
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.error) == (GOOD, 11, 7, None)
    assert 0 < reply.seconds < 5
    assert asked.name == "http:m"
    body, headers = server.requests[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 160)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "response_format" not in body
    assert headers["authorization"] == "Bearer none"


@pytest.mark.parametrize("status", [429, 500, 503, "cut"])
def test_a_question_is_repeated_until_it_is_answered(server, status):
    server.script = lambda body, number: (200, GOOD, "stop") if number > 2 else (status, "busy", None)
    (reply,) = replies(teacher(server))
    assert reply.text == GOOD
    assert len(server.requests) == 3


def test_a_server_that_does_not_answer_in_time_is_asked_again(server):
    def script(body, number):
        time.sleep(0 if number > 1 else 1)
        return 200, GOOD, "stop"

    server.script = script
    (reply,) = replies(teacher(server, timeout=0.4))
    assert reply.text == GOOD
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "text", "message"),
    [
        (500, "out of order", "no answer: Error code: 500 .*out of order"),
        (429, "slower", "no answer: Error code: 429 .*slower"),
        (400, "too long", "no answer: Error code: 400 .*too long"),
        ("cut", "", "no answer: Connection error"),
        ("raw", "<html>", "no answer: "),
        ("raw", "[]", "no answer: "),
        ("raw", '{"choices": []}', "no answer: list index out of range"),
        ("raw", '{"choices": [{"message": {"content": 3}}]}', "no answer: "),
    ],
)
def test_a_question_without_an_answer_has_the_reason(server, status, text, message):
    server.script = lambda body, number: (status, text, None)
    (reply,) = replies(teacher(server, retries=1))
    assert reply.text is None
    assert re.match(message, reply.error), reply.error


def test_a_server_that_has_gone_ends_the_run_and_what_was_answered_stays(server):
    server.script = lambda body, number: (200, GOOD, "stop") if number <= 3 else (500, "gone", None)
    asked = teacher(server, retries=0, concurrent=1)
    subjects = [prompt.subject for prompt in prompts(20)]
    with AnswerFile(Path("k.jsonl")) as file:
        lesson = Lesson(asked, Examples("none", [], seed=1, encode=None), subjects, file)
        with pytest.raises(
            DataError, match="5 questions in a row failed, the last one with: no answer: Error code: 500"
        ):
            lesson.run()
    records = read_records(Path("k.jsonl"))
    assert [record.error is None for record in records] == [True] * 3 + [False] * 5
    server.script = lambda body, number: (200, GOOD, "stop")
    with AnswerFile(Path("k.jsonl")) as file:
        Lesson(asked, Examples("none", [], seed=1, encode=None), subjects, file).run()
    last = {record.key: record.error for record in read_records(Path("k.jsonl"))}
    assert len(last) == 20
    assert set(last.values()) == {None}
    assert len(server.requests) == 3 + 5 + 17


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_ends_the_run_at_once_without_the_key(server, status, monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    server.script = lambda body, number: (status, f"key {SECRET} is unknown", None)
    with pytest.raises(DataError, match=r"refuses questions: Error code: \d+ .*key \*\*\* is unknown") as error:
        replies(teacher(server, key_variable="MY_KEY", concurrent=1), 3)
    assert len(server.requests) == 1
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None


def test_the_key_is_sent_and_stored_nowhere(server, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("MY_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-provider")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-provider")
    answers = [(500, f"no {SECRET}", None), (200, GOOD, "stop")]
    server.script = lambda body, number: answers[number % 2]
    asked = teacher(server, key_variable="MY_KEY", retries=0, concurrent=1)
    with AnswerFile(Path("k.jsonl")) as file:
        subjects = [prompt.subject for prompt in prompts(4)]
        Lesson(asked, Examples("none", [], seed=1, encode=None), subjects, file).run()
    assert {headers["authorization"] for _, headers in server.requests} == {f"Bearer {SECRET}"}
    assert not any("provider" in value for _, headers in server.requests for value in headers.values())
    stored = Path("k.jsonl").read_text()
    assert "no ***" in stored
    assert SECRET not in stored + asked.name + asked.decoding + caplog.text
    assert server.url not in stored  # nor the address


def test_without_a_variable_no_key_is_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    replies(teacher(server))
    assert server.requests[0][1]["authorization"] == "Bearer none"
    with pytest.raises(SettingError, match="the environment variable 'MY_KEY' is not set or empty"):
        teacher(server, key_variable="MY_KEY")


def test_questions_are_asked_several_at_a_time_up_to_a_bound(server):
    def script(body, number):
        time.sleep(0.1)
        return 200, GOOD, "stop"

    server.script = script
    assert len(replies(teacher(server, concurrent=4), 12)) == 12
    assert server.most == 4


def test_a_stop_awaits_the_questions_on_their_way(server):
    asked = teacher(server, concurrent=3)
    found: list = []
    for batch in asked.answer(prompts(20), lambda: bool(found)):
        found.extend(batch)
    assert 1 <= len(found) == len(server.requests) <= 3


def test_an_interruption_does_not_wait_for_a_slow_server(server):
    done = threading.Event()

    def script(body, number):
        if number > 1:
            done.wait(20)
        return 200, GOOD, "stop"

    server.script = script
    asking = teacher(server, concurrent=2, timeout=30.0).answer(prompts(5), lambda: False)
    next(asking)
    start = time.perf_counter()
    asking.close()
    assert time.perf_counter() - start < 15
    done.set()


def test_an_answer_that_was_cut_off_is_kept_as_an_error(server):
    server.script = lambda body, number: (200, GOOD, "length")
    (reply,) = replies(teacher(server, answer_tokens=50))
    assert (reply.text, reply.error) == (GOOD, "cut off after 50 tokens")


def test_a_schema_is_asked_for_and_answers_become_lines(server):
    server.script = lambda body, number: (200, JSON, "stop")
    asked = teacher(server, use_schema=True)
    (reply,) = replies(asked)
    assert reply.text == "Reasoning: r\nExplicit: a; b; z\nImplicit: c; d; e"
    assert server.requests[0][0]["response_format"] == schema.RESPONSE_FORMAT
    assert asked.decoding != teacher(server).decoding


@pytest.mark.parametrize("text", [GOOD, "{}", '{"reasoning": "r"}', "[" * 10**5, '{"explicit": "a"}'])
def test_a_server_that_ignores_the_schema_is_read_as_lines(server, text):
    server.script = lambda body, number: (200, text, "stop")
    (reply,) = replies(teacher(server, use_schema=True))
    assert reply.text == text


def test_a_server_that_refuses_an_option_is_asked_without_it(server):
    def script(body, number):
        if "response_format" in body:
            return 400, "response_format is not supported", None
        if "max_tokens" in body:
            return 400, "use max_completion_tokens instead of max_tokens", None
        return 200, GOOD, "stop"

    server.script = script
    (reply,) = replies(teacher(server, use_schema=True))
    assert reply.text == GOOD
    assert server.requests[-1][0]["max_completion_tokens"] == 160


@pytest.mark.parametrize(
    ("models", "message"), [([], "has 0 models"), (["a", "b"], "2 models; name one .*: a, b")]
)
def test_a_server_of_several_models_needs_a_name(server, models, message):
    server.models = models
    with pytest.raises(DataError, match=message):
        _ = teacher(server).name
    assert teacher(server, model="b").name == "http:b"


def test_an_address_where_nobody_answers_is_one_line(server):
    with pytest.raises(DataError, match=r"does not list its models \(.+\); is it the address of an OpenAI-comp"):
        _ = HttpTeacher("http://127.0.0.1:9/v1", retries=0).name


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "needs an address such as http://localhost:8000/v1, got 'localhost:8000'"),
        ("ftp://a/b", "needs an address"),
        ("http://", "needs an address"),
        ("http://[", "needs an address"),
        ("http://me:word@host/v1", "the address has a user name or password"),
        ("http://host/v1?key=word@", "the address has a user name or password"),
        ("http://host/v1?key=hidden", "the address has a query"),
        ("http://host/v1#hidden", "the address has a fragment"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url, message):
    with pytest.raises(SettingError, match=message) as error:
        HttpTeacher(url)
    assert "word@" not in str(error.value)
    assert "hidden" not in str(error.value)

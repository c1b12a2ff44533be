"""``recbole-cp teach``: the files, the table, and one line for everything that cannot be."""

import json
import os
import re
import signal
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.commands import teach
from recbole_clickprompt.commands.teach_progress import Progress, duration
from recbole_clickprompt.knowledge.records import read_answers, read_records
from tests.conftest import ROOT
from tests.forked import Program
from tests.knowledge.chat_server import GOOD, serve_chat
from tests.knowledge.test_local import save

DATA = f"--data_path={ROOT / 'dataset_atomic'}"
TINY = ["teach", "--dataset=tiny", DATA, "--gpu_id="]
REFERENCES = [
    {"item_id": "i1", "text": "title is Sunny Lake.", "reasoning": "r", "explicit": ["sunny"], "implicit": ["x"]},
    {"item_id": "i2", "text": "title is Grim Lake.", "reasoning": "r", "explicit": ["grim"], "implicit": ["x"]},
    {"user_id": "z", "text": "job is clown.", "reasoning": "r", "explicit": ["clown"], "implicit": ["fun"]},
]


@pytest.fixture
def references():
    Path("refs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in REFERENCES))
    return "--references=refs.jsonl"


@pytest.fixture
def server():
    with serve_chat() as chat:
        yield chat


def error_of(capsys, *arguments, out=True):
    assert main([*TINY, *(["--out=k.jsonl"] if out else []), *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_two_replays_of_the_shipped_answers_are_equal_byte_for_byte(capsys):
    for out in ("a.jsonl", "b.jsonl"):
        assert main([*TINY, "--teacher=replay:tiny-items", f"--out={out}"]) == 0
    first = Path("a.jsonl").read_bytes()
    assert first == Path("b.jsonl").read_bytes()
    assert main([*TINY, "--teacher=replay:a.jsonl", "--out=c.jsonl"]) == 0
    assert Path("c.jsonl").read_bytes() == first
    table = capsys.readouterr().out.splitlines()
    assert table[0].split("  ")[0] == "stratum"
    (total,) = {line for line in table if line.startswith("all ")}
    assert re.fullmatch(r"all +64 +64 +100.0 % +not recorded +not recorded +not recorded +100.0 %", total)
    assert "a.jsonl: 64 valid answers about 64" in table
    answers = read_answers(Path("a.jsonl"), "item")
    assert {*answers} == {f"i{n}" for n in range(64)}
    assert answers == read_answers(ROOT / "props/knowledge/tiny-items.jsonl", "item")
    record = read_records(Path("a.jsonl"))[0]
    assert record.text.startswith("title is ")
    assert "film ID" not in record.text


def test_the_shipped_file_of_tiny_is_what_its_script_writes(tmp_path, monkeypatch):
    import runpy

    made = runpy.run_path(str(ROOT / "dataset_atomic/tiny/generate_knowledge.py"))
    monkeypatch.setitem(made["main"].__globals__, "TARGET", tmp_path / "new.jsonl")
    made["main"]()
    assert (tmp_path / "new.jsonl").read_bytes() == (ROOT / "props/knowledge/tiny-items.jsonl").read_bytes()


def test_a_sample_is_drawn_by_stratum_and_reported_by_it(capsys):
    assert main([*TINY, "--teacher=replay:tiny-items", "--out=k.jsonl", "--sample=16"]) == 0
    out = capsys.readouterr().out
    strata = {line.split()[0]: int(line.split()[1]) for line in out.splitlines()[1:-2]}
    assert set(strata) == {"Comedy", "Drama", "Sci-Fi", "Thriller", "unknown"}
    assert sum(strata.values()) == 16
    assert "k.jsonl: 16 valid answers about 16" in out
    sampled = [record.key for record in read_records(Path("k.jsonl"))]
    # a larger sample continues the file
    assert main([*TINY, "--teacher=replay:tiny-items", "--out=k.jsonl", "--sample=40"]) == 0
    keys = [record.key for record in read_records(Path("k.jsonl"))]
    assert keys[:16] == sampled
    assert len(set(keys)) == len(keys) == 40
    assert "16 answers are there already, 24 are asked for" in capsys.readouterr().err


def test_a_local_model_answers_about_users(capsys, references, tmp_path):
    model = save(tmp_path / "llama")
    common = [*TINY, f"--teacher=local:{model}", references, "--level=users", "--sample=3", "--answer-tokens=8"]
    assert main([*common, "--example=random", "--out=k.jsonl"]) in (0, 2)  # random weights may say nothing valid
    out = capsys.readouterr().out
    assert re.search(r"^all +3 +\d ", out, re.MULTILINE)
    records = read_records(Path("k.jsonl"))
    assert {record.level for record in records} == {"user"}
    assert all(re.match(r"(gender|age|job) is", record.text) for record in records)
    assert all(record.block is None and "@" not in record.key for record in records)
    assert all(record.tokens_in > 100 and record.tokens_out > 6 and record.seconds > 0 for record in records)
    # the hours of the rest, by the speed of these
    more = [*common[:-2], "--sample=10", "--answer-tokens=8", "--example=random", "--out=k.jsonl", "--dry-run"]
    assert main(more) == 0
    dry = capsys.readouterr().out
    assert "7 questions, 3 of 10 are answered" in dry
    assert re.search(r"about [\d.]+ hours at [\d.]+ answers per second \(measured on 3 earlier answers\)", dry)


def test_profiles_of_users_as_of_blocks_show_earlier_clicks_only():
    answer = {"explicit": ["a"], "implicit": ["b"]}
    plain = [{"user_id": f"u{u}", "block": b, **answer} for u in range(60) for b in range(5)]
    Path("users.jsonl").write_text("".join(json.dumps(line) + "\n" for line in plain))
    assert main([
        *TINY, "--teacher=replay:users.jsonl", "--level=users", "--user_knowledge=blocks", "--out=k.jsonl",
    ]) == 0  # fmt: skip
    records = {record.key: record for record in read_records(Path("k.jsonl"))}
    assert all(record.key.endswith(f"@{record.block}") for record in records.values())
    liked = {key: record.text.partition("Liked: ")[2] for key, record in records.items()}
    assert all(not text for key, text in liked.items() if key.endswith("@0"))
    texts = [text.removesuffix(".").split("; ") for text in liked.values() if text]
    assert max(map(len, texts)) <= 20
    assert re.fullmatch(r"\w+ .+ \(\d{4}, .+\)", texts[0][0])
    # what a user had liked by a block is the beginning of what the user had liked by the next one
    for user in range(60):
        of_user = [liked[f"u{user}@{b}"].removesuffix(".") for b in range(5) if f"u{user}@{b}" in liked]
        for early, late in pairwise(of_user):
            assert late.count(";") >= 19 or late.startswith(early)


def test_a_server_answers_about_items(capsys, references, server):
    arguments = [*TINY, f"--teacher=http:{server.url}/v1", references, "--example=category", "--out=k.jsonl"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert re.search(r"^all +64 +64 +100.0 % +704 +448 ", out, re.MULTILINE)
    prompts = [body["messages"][1]["content"] for body, _ in server.requests]
    assert all("title is Sunny Lake." in prompt or "title is Grim Lake." in prompt for prompt in prompts)
    assert main(arguments) == 0  # nothing is left
    assert len(server.requests) == 64
    # and its answers can be replayed
    assert main([*TINY, "--teacher=replay:k.jsonl", "--out=again.jsonl"]) == 0
    assert sorted(Path("again.jsonl").read_text().splitlines()) == sorted(Path("k.jsonl").read_text().splitlines())


def test_a_run_without_a_valid_answer_fails_with_the_most_frequent_reason(capsys, references, server):
    server.script = lambda body, number: (200, "no idea" if number % 4 else "what?", "stop")
    arguments = [f"--teacher=http:{server.url}/v1", references, "--example=random", "--sample=10"]
    line = error_of(capsys, *arguments)
    assert line == (
        "error: k.jsonl: none of the 20 answers is valid, most often because of: no line Explicit: in 'no idea'"
    )
    assert error_of(capsys, *arguments) == line  # nothing is left to ask
    # nor does an earlier answer make up for a run in which everything failed
    server.script = lambda body, number: (200, GOOD, "stop")
    assert main([*TINY, *arguments, "--out=good.jsonl"]) == 0
    server.script = lambda body, number: (400, "refused", None)
    line = error_of(capsys, *arguments[:-1], "--sample=13", "--out=good.jsonl", out=False)
    assert "good.jsonl: none of the 3 answers is valid, most often because of: no answer: Error code: 400" in line
    assert main([*TINY, "--teacher=replay:tiny-items", "--sample=3", "--out=new.jsonl"]) == 0


def test_the_limit_of_tokens_stops_and_the_same_command_continues(capsys, references, server):
    arguments = [*TINY, f"--teacher=http:{server.url}/v1", references, "--example=random", "--out=k.jsonl"]
    assert main([*arguments, "--max-tokens=180", "--concurrent=1"]) == 0
    assert len(server.requests) == 10
    assert "--max-tokens is reached; the same command continues with the other 54" in capsys.readouterr().out
    assert main(arguments) == 0
    assert len(server.requests) == 64


def test_users_are_not_sent_to_a_server_unless_it_is_allowed(capsys, references, server):
    arguments = [*TINY, f"--teacher=http:{server.url}/v1", references, "--level=users", "--example=random"]
    line = error_of(capsys, *arguments[3:])
    assert "--level=users would send user profiles to a server; allow it with --send-user-data" in line
    assert server.requests == []
    assert main([*arguments, "--send-user-data", "--sample=2", "--out=k.jsonl"]) == 0
    assert len(server.requests) == 2


def test_a_dry_run_asks_nothing_and_writes_nothing(capsys, references, server):
    arguments = [*TINY, f"--teacher=http:{server.url}/v1", references, "--example=random", "--out=new/k.jsonl"]
    assert main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.count("--- item i") == 3
    assert "You describe items for an advertising system." in out
    assert "64 questions, 0 of 64 are answered" in out
    assert re.search(r"about [\d,]+ tokens of prompts \(estimated, 4 characters per token\)", out)
    assert re.search(r"about [\d,]+ tokens of answers \(estimated from the references\)", out)
    assert "hours unknown: pass --rate" in out
    assert main([*arguments, "--dry-run", "--rate=0.5"]) == 0
    assert "about 0.04 hours at 0.5 answers per second (as --rate says)" in capsys.readouterr().out
    assert server.requests == []
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "teacher",
    [
        "http://127.0.0.1:9/v1?key=SECRET", "http://127.0.0.1:9/v1#SECRET", "http://me:SECRET@127.0.0.1:9/v1",
        "htp://me:SECRET@host/v1?key=SECRET", "http:host/v1?key=SECRET", "http://host:0/v1?key=SECRET",
        "http://me:SEC@RET@[/v1?key=SECRET", "me:SECRET@host?a", "me:SEC?RET@host", "http:// me:SECRET@host/v1",
    ],
)  # fmt: skip
def test_secrets_in_an_address_are_in_no_message(capsys, teacher):
    line = error_of(capsys, f"--teacher={teacher}", "--example=none", "--retries=0")
    assert not re.search("SEC|RET", line)
    assert "--teacher" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher=gpt"], "--teacher must be replay:FILE, local:ID or http:URL, got 'gpt'"),
        (["--teacher=replay:"], "--teacher must be replay:FILE"),
        (["--teacher=replay:tiny-item"], "there is no knowledge file 'tiny-item'"),
        (["--teacher=replay:tiny-items", "--level=users"], "has no answer about the user 'u"),
        (["--teacher=replay:tiny-items", "--sample=0"], "--sample must be 1 or more, got 0"),
        (["--teacher=replay:tiny-items", "--max-tokens=0"], "--max-tokens must be 1 or more, got 0"),
        (["--teacher=replay:tiny-items", "--rate=nan"], "--rate must be a number above 0, got nan"),
        (["--teacher=replay:tiny-items", "--timeout=0"], "--timeout must be a number above 0, got 0.0"),
        (["--teacher=replay:tiny-items", "--strata=genr"], "got 'genr'; did you mean genre?"),
        (["--teacher=replay:tiny-items", "--colour=red"], "colour is not a setting"),
        (
            ["--teacher=replay:tiny-items", "--text_fields={item_id: film}"],
            "text_fields has no field of items other than item_id",
        ),
        (
            ["--teacher=replay:tiny-items", "--out=folder"],
            "--out must be a file, such as knowledge.jsonl, got 'folder'",
        ),
        (["--teacher=replay:tiny-items", "--out="], "--out must be a file, such as knowledge.jsonl, got ''"),
        (
            ["--teacher=replay:tiny-items", "--out=/dev/null"],
            "--out must be a file, such as knowledge.jsonl, got '/dev",
        ),
        (
            ["--teacher=local:nope/nope", "--references=ml-100k-references"],
            "smollm2 where a model has to",
        ),
        (["--teacher=local:./nope", "--references=ml-100k-references"], "minilm, smollm2 or hashed"),
        (["--teacher=replay:tiny-items", "--sample"], None),
        (["--teacher=local:x"], "--teacher=local: needs --references"),
        (["--teacher=local:./gone", "--references=ml-100k-references"], "there is no such folder"),
        (["--teacher=local:./gone", "--references=gone"], "there is no knowledge file 'gone'"),
        (
            ["--teacher=https://127.0.0.1:9/v1", "--example=none"],
            "https://127.0.0.1:9/v1 does not list its models",
        ),
        (["--teacher=http:here", "--references=ml-100k-references"], "needs an address such as http://localhost"),
        (["--teacher=http://127.0.0.1:9/v1", "--example=none"], "does not list its models"),
        (
            ["--teacher=http://127.0.0.1:9/v1", "--example=none", "--api-key-variable=NO"],
            "'NO' is not set or empty",
        ),
    ],
)
def test_what_cannot_be_is_one_line(capsys, arguments, message):
    if message is None:  # by the parser itself
        with pytest.raises(SystemExit, match="2"):
            main([*TINY, "--out=k.jsonl", *arguments])
        return
    Path("folder").mkdir()
    if "127.0.0.1:9" in arguments[0]:
        arguments = [*arguments, "--retries=0"]
    assert message in error_of(capsys, *arguments)
    assert not Path("k.jsonl").exists()


def test_an_answer_file_that_cannot_be_continued_is_unchanged(capsys, references, server):
    Path("k.jsonl").write_text("no json\n")
    assert "k.jsonl, line 1: not a JSON object" in error_of(capsys, "--teacher=replay:tiny-items")
    assert Path("k.jsonl").read_text() == "no json\n"
    assert main([*TINY, "--teacher=replay:tiny-items", "--out=a.jsonl"]) == 0
    before = Path("a.jsonl").read_bytes()
    line = error_of(
        capsys, f"--teacher=http:{server.url}/v1", references, "--example=random", "--out=a.jsonl", out=False
    )
    assert "a.jsonl has answers of replay:tiny-items.jsonl@" in line
    assert Path("a.jsonl").read_bytes() == before
    line = error_of(capsys, "--teacher=replay:a.jsonl", "--out=a.jsonl", out=False)
    assert "--out is the file that is replayed" in line
    before = before[:-1]  # complete but for the line end
    Path("a.jsonl").write_bytes(before)
    arguments = [f"--teacher=http:{server.url}/v1", references, "--example=random", "--out=a.jsonl"]
    assert "a.jsonl has answers of" in error_of(capsys, *arguments, out=False)
    assert Path("a.jsonl").read_bytes() == before
    Path("p.csv").write_text("a,b\nc,d last")
    line = error_of(capsys, "--teacher=replay:tiny-items", "--out=p.csv", out=False)
    assert "p.csv, line 1: not a JSON object" in line
    assert Path("p.csv").read_text() == "a,b\nc,d last"
    Path("folder").mkdir()
    assert main([*TINY, "--teacher=replay:tiny-items", "--out=folder"]) == 2
    assert "folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_what_was_answered_before_the_end_stays(references, server, number, code):
    """Whatever ends the process; the same command then asks for the rest only."""
    served = threading.Event()

    def script(body, count):
        if count > 12:
            served.wait(30)
        return 200, GOOD, "stop"

    server.script = script
    arguments = [*TINY, f"--teacher=http:{server.url}/v1", references, "--example=random", "--out=k.jsonl"]
    program = Program(["-m", "recbole_clickprompt", *arguments])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (
        not Path("k.jsonl").exists() or Path("k.jsonl").read_bytes().count(b"\n") < 12
    ):
        time.sleep(0.05)
    time.sleep(1)  # the twelfth answer is in the file before it counts; then the process waits for the server
    program.send_signal(number)
    ended = program.finish(timeout=60)
    assert ended.returncode == code, ended.stderr
    if number != signal.SIGKILL:
        assert ended.stderr.splitlines()[-1] == (
            "interrupted; k.jsonl has answers about 12, and the same command continues"
        )
    served.set()
    assert len(read_records(Path("k.jsonl"))) == 12
    with Path("k.jsonl").open("a") as stream:
        stream.write('{"key": "i')  # as if it had been killed while it wrote
    before = len(server.requests)
    assert main(arguments) == 0
    assert len(server.requests) == before + 52
    assert len(read_answers(Path("k.jsonl"), "item")) == 64


def test_ctrl_c_keeps_what_was_answered(capsys, references, server, monkeypatch):
    def script(body, count):
        if count == 13:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return 200, GOOD, "stop"

    server.script = script
    arguments = [*TINY, f"--teacher=http:{server.url}/v1", references, "--example=random", "--out=k.jsonl"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ray's tuning leaves a handler that ends nothing
    try:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--concurrent=1"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert "interrupted; k.jsonl has answers about 12, and the same" in capsys.readouterr().err
    server.script = lambda body, number: (200, GOOD, "stop")
    assert main(arguments) == 0
    assert len(read_answers(Path("k.jsonl"), "item")) == 64


def test_the_progress_shows_speed_and_remaining_time(capsys, monkeypatch):
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    progress.begin(100, done=5)
    now[0] = 20.0
    progress.advance(4)
    assert capsys.readouterr().err == "5 answers are there already, 100 are asked for\n"
    now[0] = 40.0
    progress.advance(4)
    progress.end()
    assert capsys.readouterr().err == "8 of 100 answers, 0.2 per second, 8 min left\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    terminal = Progress(clock=lambda: now[0])
    terminal.begin(10, done=0)
    now[0] += 1
    terminal.advance(10)
    terminal.end()
    assert capsys.readouterr().err.endswith("\r\033[K10 of 10 answers, 10 per second, 0 s left\n")
    assert [duration(seconds) for seconds in (3, 300, 7200)] == ["3 s", "5 min", "2.0 h"]


def test_help_describes_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["teach", "--help"])
    out = capsys.readouterr().out
    assert "Ask a large language model" in out
    assert teach.__doc__.splitlines()[0] in out

"""Files of answers: what is read, what is refused with its line, and what survives a crash."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answer_file import AnswerFile
from recbole_clickprompt.knowledge.answers import Answer
from recbole_clickprompt.knowledge.embedded import find_knowledge, shipped_names
from recbole_clickprompt.knowledge.records import Record, read_answers, read_records, record_of
from tests.conftest import ROOT

PLAIN = {"item_id": "7", "reasoning": "r", "explicit": ["a"], "implicit": ["b", "B.", "c d"]}
ONE = Record("i1", "item", text="t", prompt_sha256="0" * 64, model="m", answer="x", reasoning="r",
             explicit=("a",), implicit=("b",), tokens_in=3, tokens_out=4, seconds=0.5)  # fmt: skip
WRONG = ONE._replace(key="i2", reasoning=None, explicit=(), implicit=(), error="no line Explicit:")


def write(*lines, name="k.jsonl"):
    path = Path(name)
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def test_plain_answers_and_full_records_are_read_by_level_and_key():
    users = [{**PLAIN, "item_id": None, "user_id": 3} for _ in "ab"]
    for user, block in zip(users, (None, 2), strict=True):
        del user["item_id"]
        user |= {"block": block} if block else {}
    path = write(PLAIN, "\n", ONE.line(), *users)
    assert read_answers(path, "item") == {
        "7": Answer("r", ("a",), ("b", "c d")),
        "i1": Answer("r", ("a",), ("b",)),
    }
    assert list(read_answers(path, "user")) == ["3", "3@2"]
    assert read_answers(write(PLAIN), "user") == {}


def test_the_last_of_several_lines_with_one_key_counts():
    path = write(ONE.line(), ONE._replace(implicit=("z",)).line(), WRONG.line())
    assert read_answers(path, "item")["i1"].implicit == ("z",)
    assert list(read_answers(write(ONE.line(), ONE._replace(error="invalid").line(), PLAIN), "item")) == ["7"]


def test_an_answer_about_another_text_is_an_error():
    path = write(ONE.line(), PLAIN)
    assert {*read_answers(path, "item", {"i1": "t", "7": "anything"})} == {"i1", "7"}
    assert {*read_answers(path, "item", {"other": "u"})} == {"i1", "7"}  # nothing to compare with
    with pytest.raises(DataError, match=r"k.jsonl, line 1: the answer about 'i1' is about another text, 't' inst"):
        read_answers(path, "item", {"i1": "u" * 1000})
    with pytest.raises(DataError, match="'7' is about another text, 'a' instead of 'b'; use the data set and"):
        read_answers(write({**PLAIN, "text": "a"}), "item", {"7": "b"})
    # the file was continued after the text had changed, and back
    changed = ONE._replace(text="u", implicit=("z",))
    for lines in ((ONE, changed), (changed, ONE)):
        path = write(*(record.line() for record in lines))
        assert read_answers(path, "item", {"i1": "t"})["i1"].implicit == ("b",)
        assert read_answers(path, "item", {"i1": "u"})["i1"].implicit == ("z",)
    failed = ONE._replace(error="invalid", explicit=(), implicit=())
    assert read_answers(write(ONE.line(), failed.line(), changed.line()), "item", {"i1": "t"}) == {}
    assert {*read_answers(write(ONE.line(), failed._replace(text="u").line()), "item", {"i1": "t"})} == {"i1"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{\n", "k.jsonl, line 2: not a JSON object in UTF-8"),
        (
            '{"item_id": "7", "expl',
            r"not a JSON object.*; it is cut off: remove it, or run recbole-cp teach again",
        ),
        ("[1]\n", r"line 2: expected is a JSON object, got '\[1\]'"),
        ({"explicit": []}, "line 2: expected is item_id or user_id, or a full record with key and level"),
        ({"item_id": 1, "user_id": 2}, "expected is item_id or user_id"),
        ({**PLAIN, "item_id": True}, "item_id must be a token of the data set's files, got True"),
        ({**PLAIN, "item_id": 1.5}, "item_id must be a token"),
        ({**PLAIN, "implicit": "b"}, "implicit must be a list of phrases, got 'b'"),
        ({**PLAIN, "implicit": ["b", 1]}, "implicit must be a list of phrases"),
        ({**PLAIN, "implicit": []}, "line 2: the answer about '7' has no implicit phrase"),
        ({**PLAIN, "reasoning": 3}, "reasoning must be a text or null, got 3"),
        ({**PLAIN, "block": -1}, "block must be a whole number from 0 to 1e15, or null, got -1"),
        ({**ONE._asdict(), "level": "films"}, "level must be item or user, got 'films'"),
        ({**ONE._asdict(), "tokens_in": "3"}, "tokens_in must be a number or null, got '3'"),
        ({**ONE._asdict(), "seconds": float("nan")}, "seconds must be a number from 0 to 1e15, got nan"),
        ({**ONE._asdict(), "tokens_in": 10**400}, "tokens_in must be a number from 0 to 1e15, got 1000"),
        ({**ONE._asdict(), "seconds": -1}, "seconds must be a number from 0 to 1e15, got -1"),
        ('{"item_id": "7", "block": ' + "9" * 5000 + "}\n", "line 2: not a JSON object"),
        ({**PLAIN, "block": 10**400}, "block must be a whole number from 0 to 1e15, or null, got 1000"),
        ({**PLAIN, "item_id": 10**400}, "item_id must be a token"),
        ({**PLAIN, "explicit": ["\ud800"]}, "line 2: not a JSON object in UTF-8 .*surrogates not allowed"),
        ({**PLAIN, "category": {"\udfff": 1}}, "line 2: not a JSON object in UTF-8 .*surrogates not allowed"),
        ('{"item_id": "7", "item_id": "8"}\n', "line 2: not a JSON object .*the key 'item_id' occurs twice"),
        ('{"item_id": "7", "x": {"\\ud800": 1, "\\ud800": 1}}\n', r"the key '\\ud800' occurs twice"),
        ({**ONE._asdict(), "tokenz": 1}, "'tokenz' is not a part of a record"),
        ({**ONE._asdict(), "key": ""}, "key must be the token of an item or user, got ''"),
        ("[" * 100_000 + "\n", "not a JSON object"),
    ],
)
def test_an_invalid_line_is_named(line, message):
    with pytest.raises(DataError, match=message):
        read_answers(write(PLAIN, line), "item")


def test_escaped_characters_and_a_byte_order_mark_are_read():
    line = json.dumps({**PLAIN, "reasoning": "😀 \\ud800"})
    Path("k.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{line}\n{line}\n".encode())
    assert read_answers(Path("k.jsonl"), "item")["7"].reasoning == "😀 \\ud800"
    with AnswerFile(Path("k.jsonl")) as file:
        assert len(file.records) == 2
    Path("k.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode())  # without its line end
    with AnswerFile(Path("k.jsonl")) as file:
        assert len(file.records) == 1
    Path("k.jsonl").write_bytes(f"\ufeff\n{line}\n\ufeff{line}\n".encode())  # files put together
    assert len(read_records(Path("k.jsonl"))) == 2


def test_a_file_that_cannot_be_read_is_one_line():
    with pytest.raises(DataError, match="gone.jsonl cannot be read: No such file"):
        read_answers(Path("gone.jsonl"), "item")
    with pytest.raises(DataError, match="k.jsonl has no answers"):
        read_answers(write("\n"), "item")
    Path("latin.jsonl").write_bytes(b'{"item_id": "\xe9"}\n')
    with pytest.raises(DataError, match="latin.jsonl, line 1: not a JSON object in UTF-8"):
        read_answers(Path("latin.jsonl"), "item")
    with pytest.raises(ValueError, match="level must be one of"):
        read_answers(write(PLAIN), "items")


texts, numbers = st.none() | st.text(max_size=8), st.none() | st.integers(0, 10**9)


@given(
    st.builds(
        Record, key=st.text(min_size=1, max_size=5), level=st.sampled_from(["item", "user"]),
        block=st.none() | st.integers(0, 9), text=texts, prompt_sha256=texts, model=texts, answer=texts,
        explicit=st.lists(st.text(max_size=5)).map(tuple), tokens_in=numbers, tokens_out=numbers,
        seconds=st.none() | st.floats(0, 1e9), error=texts,
    )
)  # fmt: skip
def test_a_record_is_read_as_it_was_written(record):
    line = record.line()
    assert line.count("\n") == 1
    again = record_of(json.loads(line), "here")
    assert again == record
    assert again.line() == line


def test_records_are_appended_and_read_by_the_next_run():
    path = Path("new/k.jsonl")
    with AnswerFile(path) as file:
        file.append([ONE])
        file.append([WRONG])
        assert file.records == [ONE, WRONG]
    with AnswerFile(path) as file:
        assert file.records == [ONE, WRONG]
    assert path.read_text() == ONE.line() + WRONG.line()


def test_a_torn_last_line_is_removed_with_a_message(caplog):
    path = write(ONE.line(), WRONG.line()[:40])
    with AnswerFile(path) as file:
        assert file.records == [ONE]
        file.append([WRONG])
    assert "k.jsonl: line 2 was cut off when an earlier run ended; it is removed" in caplog.text
    assert read_records(path) == [ONE, WRONG]


def test_a_whole_last_line_without_its_end_is_kept(caplog):
    path = write(ONE.line(), WRONG.line()[:-1])
    with AnswerFile(path) as file:
        assert file.records == [ONE, WRONG]
        file.append([ONE])
    assert caplog.text == ""
    assert len(read_records(path)) == 3


def test_a_line_broken_elsewhere_is_an_error_and_nothing_is_lost():
    path = write(ONE.line()[:40] + "\n", WRONG.line())
    before = path.read_bytes()
    with pytest.raises(DataError, match="k.jsonl, line 1: not a JSON object"):
        AnswerFile(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        "one line without an end",
        "a,b\nc,d last",
        ONE.line() + "notes",
        "{}\n" + WRONG.line()[:40],  # an earlier line is no record
        json.dumps(PLAIN) + "\n" + WRONG.line()[:40],  # nor is a plain answer one that teach wrote
        json.dumps(PLAIN)[:30],
        ONE.line() + '{"a": 1}',
        "12",
    ],
)
def test_what_teach_did_not_write_is_unchanged(content):
    path = write(content)
    with pytest.raises(DataError, match="k.jsonl"):
        AnswerFile(path)
    assert path.read_text() == content


def test_opening_writes_nothing_and_removes_only_its_own_file(caplog):
    path = write(ONE.line(), WRONG.line()[:40])
    before = path.read_bytes()
    AnswerFile(path).close()
    assert path.read_bytes() == before
    assert caplog.text == ""
    write("", name="empty.jsonl")
    AnswerFile(Path("empty.jsonl")).close()
    assert Path("empty.jsonl").exists()
    with AnswerFile(write(WRONG.line()[:3])) as file:  # killed at the first record
        file.repair()
        assert path.read_bytes() == b""


def test_two_processes_do_not_write_one_file():
    with AnswerFile(Path("k.jsonl")) as file:
        file.append([ONE])
        with pytest.raises(
            DataError, match="k.jsonl is being written by another process; wait for it, or stop it"
        ):
            AnswerFile(Path("k.jsonl"))
    AnswerFile(Path("k.jsonl")).close()


def test_a_full_disk_leaves_whole_records_only(monkeypatch):
    with AnswerFile(Path("k.jsonl")) as file:
        file.append([ONE])
        monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(ValueError, match="k.jsonl cannot be written: No space left"):
            file.append([WRONG])
        assert file.records == [ONE]
    assert read_records(Path("k.jsonl")) == [ONE]


def test_a_file_in_which_nothing_was_written_is_not_left_behind():
    AnswerFile(Path("k.jsonl")).close()
    assert not Path("k.jsonl").exists()


def test_shipped_files_are_found_by_name():
    assert {"ml-100k-items", "tiny-items"} <= set(shipped_names())
    assert find_knowledge("ml-100k-items") == ROOT / "props" / "knowledge" / "ml-100k-items.jsonl"
    assert find_knowledge(str(write(PLAIN))) == Path("k.jsonl")
    for name in ("", "a\0b", "x" * 300, "../../ml-100k-items", "ml-100k-item"):
        with pytest.raises(DataError, match="there is no knowledge file"):
            find_knowledge(name)
    with pytest.raises(DataError, match="did you mean ml-100k-items"):
        find_knowledge("ml-100k-item")


def test_the_shipped_answers_cover_every_item():
    answers = read_answers(find_knowledge("ml-100k-items"), "item")
    assert set(answers) == {str(number) for number in range(1, 1683)}
    assert set(read_answers(find_knowledge("tiny-items"), "item")) == {f"i{number}" for number in range(64)}

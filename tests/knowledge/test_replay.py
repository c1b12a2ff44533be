"""Replayed answers: exact, and only about what the file knows."""

import json
from pathlib import Path

import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answer_file import AnswerFile
from recbole_clickprompt.knowledge.examples import Examples
from recbole_clickprompt.knowledge.prompts import Subject
from recbole_clickprompt.knowledge.records import read_records
from recbole_clickprompt.knowledge.teachers.replay import ReplayTeacher
from recbole_clickprompt.knowledge.teaching import Lesson
from tests.knowledge.test_teaching import GOOD, REFERENCES, SUBJECTS, Scripted, run

PLAIN = [{"item_id": f"i{n}", "reasoning": "r", "explicit": ["g"], "implicit": [f"x{n}", "y"]} for n in range(7)]


def replay(file, out, subjects=SUBJECTS):
    teacher = ReplayTeacher(Path(file))
    with AnswerFile(Path(out)) as answers:
        Lesson(teacher, Examples("none", [], seed=1, encode=None), subjects, answers).run()
    return Path(out).read_bytes()


def plain(*lines):
    Path("plain.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines or PLAIN))
    return "plain.jsonl"


def recorded():
    """A file with valid, invalid and repeated answers."""
    run(Scripted(lambda key, example: "no" if key == "i3" else GOOD), REFERENCES)
    Path("k.jsonl").rename("full.jsonl")
    return "full.jsonl"


def test_full_records_are_repeated_byte_for_byte():
    file = recorded()
    first = replay(file, "a.jsonl")
    assert first == replay(file, "b.jsonl")
    last = {json.loads(line)["key"]: line for line in Path(file).read_text().splitlines(keepends=True)}
    assert first.decode() == "".join(last[subject.key] for subject in SUBJECTS)
    assert replay("a.jsonl", "c.jsonl") == first  # and so on


def test_plain_answers_give_equal_files_with_tokens_not_recorded():
    file = plain()
    first = replay(file, "a.jsonl")
    assert first == replay(file, "b.jsonl") == replay("a.jsonl", "c.jsonl")
    records = read_records(Path("a.jsonl"))
    assert [record.key for record in records] == [subject.key for subject in SUBJECTS]
    assert {(record.tokens_in, record.tokens_out, record.seconds) for record in records} == {(None, None, None)}
    assert (records[0].explicit, records[0].implicit) == (("g",), ("x0", "y"))
    assert records[0].model.startswith("replay:plain.jsonl@")
    assert b'"tokens_in": null' in first


def test_a_replay_that_was_ended_continues():
    whole = replay(recorded(), "a.jsonl")
    lines = whole.splitlines(keepends=True)
    Path("b.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:30])
    assert replay("full.jsonl", "b.jsonl") == whole
    assert replay("full.jsonl", "b.jsonl") == whole


def test_two_replayed_files_are_not_mixed():
    whole = Path(recorded()).read_bytes()
    replay("full.jsonl", "a.jsonl", SUBJECTS[:2])
    kept = Path("a.jsonl").read_bytes()
    run(Scripted(lambda key, example: f"{GOOD}; other"), REFERENCES)  # the same model's name, other answers
    for other in ("k.jsonl", plain()):
        with pytest.raises(DataError, match=r"a.jsonl has answers of scripted .*, and this is replay:"):
            replay(other, "a.jsonl")
        assert Path("a.jsonl").read_bytes() == kept
    replay(plain(), "b.jsonl", SUBJECTS[:2])
    for other in ("k.jsonl", plain(*PLAIN[:6])):
        with pytest.raises(DataError, match=r"b.jsonl has answers of replay:plain.jsonl@"):
            replay(other, "b.jsonl")
    # a file that has grown, or has another name, has the same answers
    Path("grown.jsonl").write_bytes(whole + Path("k.jsonl").read_bytes())
    Path("k.jsonl").unlink()
    replay("grown.jsonl", "a.jsonl", SUBJECTS[:2])
    assert Path("a.jsonl").read_bytes() == kept


@pytest.mark.parametrize("file", [plain, recorded])
def test_a_missing_key_is_an_error_that_names_it(file):
    missing = [*SUBJECTS, Subject("i77", "item", "genre is new.", "all")]
    with pytest.raises(DataError, match=r"\.jsonl has no answer about the item 'i77'; it can only replay"):
        replay(file(), "a.jsonl", missing)
    assert not Path("a.jsonl").exists()
    with pytest.raises(DataError, match="no answer about the user 'i1'"):
        replay(file(), "a.jsonl", [SUBJECTS[1]._replace(level="user")])


def test_an_answer_about_another_text_is_not_repeated():
    changed = [SUBJECTS[0]._replace(text="genre is new.")]
    with pytest.raises(
        DataError, match=r"the item 'i0' is about another text, 'genre is g0.' instead of 'genre is new"
    ):
        replay(recorded(), "a.jsonl", changed)
    assert replay(plain(), "a.jsonl", changed)  # plain answers have no text


def test_a_changed_answer_has_another_name():
    first = ReplayTeacher(Path(plain())).name
    assert ReplayTeacher(Path(plain(*PLAIN[:3]))).name != first


def test_an_empty_file_is_refused():
    Path("empty.jsonl").touch()
    with pytest.raises(DataError, match="empty.jsonl has no answers to replay"):
        ReplayTeacher(Path("empty.jsonl"))


def test_an_invalid_plain_answer_is_kept_with_its_error():
    replay(plain({**PLAIN[0], "implicit": ["Genre"]}), "a.jsonl", SUBJECTS[:1])
    (record,) = read_records(Path("a.jsonl"))
    assert record.error == "every implicit phrase occurs in the text"
    assert record.answer == "Reasoning: r\nExplicit: g\nImplicit: Genre"

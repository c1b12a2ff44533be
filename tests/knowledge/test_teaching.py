"""A lesson: what is asked, what is stored, what is asked again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answer_file import AnswerFile
from recbole_clickprompt.knowledge.answers import Answer
from recbole_clickprompt.knowledge.costs import Costs, costs_by_stratum, teacher_tokens, total_costs
from recbole_clickprompt.knowledge.examples import Examples
from recbole_clickprompt.knowledge.prompts import Reference, Subject, build_prompt
from recbole_clickprompt.knowledge.records import Record, read_records
from recbole_clickprompt.knowledge.teachers.base import Reply
from recbole_clickprompt.knowledge.teaching import Lesson, record_of_reply

SUBJECTS = [Subject(f"i{n}", "item", f"genre is g{n}.", "even" if n % 2 == 0 else "odd") for n in range(6)]
REFERENCES = [Reference(f"r{n}", None, f"reference {n}", None, Answer("r", ("a",), ("b",))) for n in range(3)]
GOOD = "Reasoning: r\nExplicit: genre\nImplicit: x; y"


class Scripted:
    """Answers what a function of key and example says, two at a time."""

    name, decoding, tries_again, concurrent = "scripted", "greedy", True, 1

    def __init__(self, write=lambda key, example: GOOD, fail_after=None):
        self.write, self.fail_after, self.asked = write, fail_after, []

    def answer(self, prompts, stopped) -> Iterator:
        for begin in range(0, len(prompts), 2):
            if stopped():
                return
            if self.fail_after is not None and len(self.asked) >= self.fail_after:
                raise KeyboardInterrupt
            batch = prompts[begin : begin + 2]
            self.asked += [(prompt.subject.key, prompt.example) for prompt in batch]
            yield [Reply(p, *self._reply(p)) for p in batch]

    def _reply(self, prompt):
        text = self.write(prompt.subject.key, prompt.example)
        return (text, 10, 5, 0.25) if text is not None else (None, None, None, None, "no answer: 500")

    def count_tokens(self, prompt):
        return 10, "scripted"


def run(teacher, references=REFERENCES, subjects=SUBJECTS, **options):
    how = "random" if references else "none"
    with AnswerFile(Path("k.jsonl")) as file:
        lesson = Lesson(teacher, Examples(how, references, seed=1, encode=None), subjects, file, **options)
        try:
            lesson.run()
        except KeyboardInterrupt:
            return lesson
    return lesson


def keys():
    return [record.key for record in read_records(Path("k.jsonl"))]


def test_every_answer_is_stored_with_what_it_was_made_of():
    teacher = Scripted()
    finished = []
    lesson = run(teacher, answered=finished.append)
    records = read_records(Path("k.jsonl"))
    assert [record.key for record in records] == [subject.key for subject in SUBJECTS]
    first = records[0]
    assert (first.level, first.text, first.model, first.decoding, first.template) == (
        "item", "genre is g0.", "scripted", "greedy", "1",
    )  # fmt: skip
    assert (first.reasoning, first.explicit, first.implicit) == ("r", ("genre",), ("x", "y"))
    assert (first.tokens_in, first.tokens_out, first.seconds, first.error) == (10, 5, 0.25, None)
    assert (first.answer, first.example) == (GOOD, teacher.asked[0][1])
    assert lesson.tokens == 90
    assert finished == [2, 2, 2]
    assert lesson.unfinished == []


def test_an_interrupted_lesson_continues_where_it_was():
    assert len(run(Scripted(fail_after=2)).unfinished) == 4
    assert keys() == ["i0", "i1"]
    teacher = Scripted()
    run(teacher)
    assert [key for key, _ in teacher.asked] == ["i2", "i3", "i4", "i5"]
    assert keys() == [subject.key for subject in SUBJECTS]
    whole = Path("k.jsonl").read_bytes()
    Path("k.jsonl").unlink()
    run(Scripted())
    assert Path("k.jsonl").read_bytes() == whole


def test_an_invalid_answer_is_asked_again_once_with_another_reference():
    bad = {"i1", "i4"}
    teacher = Scripted(lambda key, example: "no idea" if key in bad else GOOD)
    run(teacher)
    tries = {key: [e for k, e in teacher.asked if k == key] for key in ("i0", *bad)}
    assert len(tries["i0"]) == 1
    for key in bad:
        assert len(set(tries[key])) == 2
    records = [record for record in read_records(Path("k.jsonl")) if record.key in bad]
    assert [record.error for record in records] == ["no line Explicit: in 'no idea'"] * 4
    assert [record.answer for record in records] == ["no idea"] * 4
    again = Scripted()
    run(again)  # two tries are all
    assert again.asked == []


def test_the_second_answer_counts_if_it_is_valid():
    first = {}
    teacher = Scripted(lambda key, example: GOOD if first.setdefault(key, example) != example else "no")
    run(teacher)
    assert len(teacher.asked) == 12
    costs = costs_by_stratum(SUBJECTS, read_records(Path("k.jsonl")))
    assert costs["even"] == Costs(3, 3, 60, 30, 1.5, explicit=3, in_text=3)
    assert total_costs(costs.values()).tokens_in == 120
    assert teacher_tokens(read_records(Path("k.jsonl"))) == 12 * 15


def test_tokens_are_unknown_where_any_answer_lacks_them():
    run(Scripted())
    records = read_records(Path("k.jsonl"))
    assert teacher_tokens(records) == 6 * 15
    assert teacher_tokens([]) == 0
    assert teacher_tokens([*records, records[0]._replace(tokens_out=None)]) is None
    assert teacher_tokens([*records, Record("i1", "item", explicit=("a",), implicit=("b",))]) is None
    unanswered = records[0]._replace(answer=None, tokens_in=None, tokens_out=None, error="no answer")
    assert teacher_tokens([*records, unanswered]) == 6 * 15


@pytest.mark.parametrize("references", [[], REFERENCES[:1]])
def test_a_second_question_that_would_be_the_first_one_is_not_asked(references):
    teacher = Scripted(lambda key, example: "no")
    lesson = run(teacher, references)
    assert len(teacher.asked) == 6
    assert lesson.unfinished == []
    again = Scripted()
    run(again, references)
    assert again.asked == []


def test_an_interruption_before_the_second_try_does_not_skip_it():
    run(Scripted(lambda key, example: "no", fail_after=6))
    teacher = Scripted()
    run(teacher)
    assert len(teacher.asked) == 6
    assert [record.error is None for record in read_records(Path("k.jsonl"))] == [False] * 6 + [True] * 6


def test_a_question_that_failed_on_its_way_is_asked_again_by_the_next_run():
    run(Scripted(lambda key, example: None if key == "i3" else GOOD))
    (failed,) = [record for record in read_records(Path("k.jsonl")) if record.error]
    assert (failed.key, failed.error, failed.answer) == ("i3", "no answer: 500", None)
    teacher = Scripted()
    run(teacher)
    assert [key for key, _ in teacher.asked] == ["i3"]
    costs = total_costs(costs_by_stratum(SUBJECTS, read_records(Path("k.jsonl"))).values())
    assert (costs.asked, costs.parsed, costs.tokens_in) == (6, 6, 60)


def test_a_text_that_has_changed_is_asked_about_again():
    run(Scripted())
    changed = [SUBJECTS[0]._replace(text="genre is new."), *SUBJECTS[1:]]
    teacher = Scripted()
    run(teacher, subjects=changed)
    assert [key for key, _ in teacher.asked] == ["i0"]
    assert read_records(Path("k.jsonl"))[-1].text == "genre is new."


def test_no_further_question_is_started_after_the_limit_of_tokens():
    lesson = run(Scripted(), max_tokens=31)
    assert lesson.stopped
    assert len(keys()) == 4  # a batch has 30 tokens; what was asked is stored
    assert len(lesson.unfinished) == 2
    assert not run(Scripted(), max_tokens=31).stopped


def test_implicit_phrases_of_the_text_become_explicit_in_the_record():
    run(Scripted(lambda key, example: f"Explicit: a\nImplicit: {key.replace('i', 'G')}; y"), subjects=SUBJECTS[:1])
    (record,) = read_records(Path("k.jsonl"))
    assert (record.explicit, record.implicit) == (("a", "G0"), ("y",))
    run(Scripted(lambda key, example: "Explicit: a\nImplicit: genre"), subjects=SUBJECTS[1:2])
    assert read_records(Path("k.jsonl"))[-1].error == "every implicit phrase occurs in the text"


def test_characters_that_no_file_can_hold_are_replaced():
    run(Scripted(lambda key, example: f"{GOOD} \ud800"), subjects=SUBJECTS[:1])
    (record,) = read_records(Path("k.jsonl"))
    assert (record.answer, record.implicit) == (f"{GOOD} ?", ("x", "y ?"))
    reply = Reply(build_prompt(SUBJECTS[0], None), None, error="\udfff")
    assert record_of_reply(reply, Scripted()).error == "?"


def test_answers_of_two_models_are_not_mixed():
    run(Scripted())
    other = Scripted()
    other.name = "other"
    with pytest.raises(DataError, match=r"has answers of scripted \(greedy, template 1\), and this is other"):
        run(other)
    assert len(keys()) == 6

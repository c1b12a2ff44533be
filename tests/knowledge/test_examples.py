"""References, the prompts that they are part of, and which of them a prompt gets."""

import json
from pathlib import Path

import numpy as np
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import Answer, parse
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.knowledge.examples import EXAMPLES, Examples, read_references
from recbole_clickprompt.knowledge.prompts import Reference, Subject, build_prompt, prompt_sha256

ANSWER = Answer("why", ("sunny",), ("warm",))
# Vectors of two directions: sunny texts, and dark ones
AXES = {"sunny": (1.0, 0.0), "grim": (0.0, 1.0), "half": (0.6, 0.8)}


def encode(texts):
    return np.array([AXES[text.split()[0]] for text in texts], dtype=np.float32)


def reference(id_, text, *, key=None, category=None):
    return Reference(id_, key, text, category, ANSWER)


def subject(text, key="i1", stratum="drama"):
    return Subject(key, "item", text, stratum)


REFERENCES = [
    reference("r0", "sunny road", key="i1", category="comedy"),
    reference("r1", "grim road", category="drama"),
    reference("r2", "sunny house", category="comedy"),
    reference("r3", "grim house", key="i9", category="drama"),
]


def ranked(how, *subjects, seed=1):
    examples = Examples(how, REFERENCES, seed=seed, encode=encode)
    return [[reference.id for reference in references] for references in examples.rank(subjects)]


def test_the_nearest_text_is_first_and_ties_are_in_the_order_of_the_file():
    assert ranked("nearest", subject("sunny lake", "i5"), subject("half lake", "i5")) == [
        ["r0", "r2", "r1", "r3"],
        ["r1", "r3", "r0", "r2"],
    ]


@pytest.mark.parametrize("how", ["nearest", "category", "random"])
def test_the_item_itself_is_never_its_example(how):
    same_key, same_text = ranked(how, subject("sunny lake", "i1"), subject("sunny house", "i7"))
    assert sorted(same_key) == ["r1", "r2", "r3"]
    assert sorted(same_text) == ["r0", "r1", "r3"]


def test_an_example_of_the_category_comes_before_others():
    (dramas,) = ranked("category", subject("half lake", "i5"))
    assert set(dramas[:2]) == {"r1", "r3"}
    (unknown,) = ranked("category", subject("half lake", "i5", stratum="western"))
    assert sorted(unknown) == ["r0", "r1", "r2", "r3"]


def test_random_examples_are_functions_of_seed_and_key():
    many = [subject("half lake", f"k{n}") for n in range(400)]
    first = [references[0] for references in ranked("random", *many)]
    assert first == [references[0] for references in ranked("random", *many)]
    assert first[7:9] == [references[0] for references in ranked("random", *many[7:9])]
    assert first != [references[0] for references in ranked("random", *many, seed=2)]
    assert all(60 < first.count(id_) < 140 for id_ in ("r0", "r1", "r2", "r3"))


def test_without_examples_nothing_is_encoded():
    examples = Examples("none", [], seed=1, encode=None)
    assert examples.rank([subject("sunny lake")]) == [[]]


def test_every_choice_of_the_command_is_one_of_the_module():
    import argparse

    from recbole_clickprompt.commands import teach
    from recbole_clickprompt.host.knowledge_subjects import STATISTICS
    from recbole_clickprompt.knowledge.teachers.base import ANSWER_TOKENS

    parser = argparse.ArgumentParser()
    teach.add_arguments(parser)
    choices = {action.dest: action for action in parser._actions}
    assert tuple(choices["example"].choices) == EXAMPLES
    assert tuple(choices["weight"].choices) == STATISTICS
    assert choices["answer_tokens"].default == ANSWER_TOKENS


def test_a_prompt_has_instruction_example_and_text():
    prompt = build_prompt(subject("genre is drama."), REFERENCES[0])
    assert prompt.example == "r0"
    assert prompt.system == "You describe items for an advertising system. Answer in exactly three lines."
    instruction, example, question = prompt.user.split("\n\n")
    assert [line.partition(":")[0] for line in instruction.splitlines()[:3]] == [
        "Reasoning",
        "Explicit",
        "Implicit",
    ]
    assert example == "Item: sunny road\nReasoning: why\nExplicit: sunny\nImplicit: warm"
    assert parse(example.partition("\n")[2]) == ANSWER
    assert question == "Item: genre is drama.\n"
    user = build_prompt(Subject("u", "user", "age is 3.", "all"), None)
    assert user.example is None
    assert "users" in user.system
    assert user.user.endswith("one to four words.\n\nProfile: age is 3.\n")


def test_the_hash_changes_with_everything_that_decides_an_answer():
    given = {"model": "m", "decoding": "d", "template": "1", "example": "r", "subject": subject("t")}
    hashes = {prompt_sha256(**given)}
    for name, value in [
        ("model", "n"), ("decoding", "e"), ("template", "2"), ("example", None), ("subject", subject("u")),
        ("subject", subject("t")._replace(level="user")),
    ]:  # fmt: skip
        hashes.add(prompt_sha256(**{**given, name: value}))
    assert len(hashes) == 7
    # the key, stratum and weight do not: equal texts are equal questions
    assert prompt_sha256(**{**given, "subject": subject("t", "i2", "x")}) in hashes


LINE = {"item_id": "i1", "text": "genre is drama.", "reasoning": "r", "explicit": ["drama"], "implicit": ["sad"]}


def references(*lines, subjects=()):
    Path("r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_references(Path("r.jsonl"), "item", subjects)


def test_references_are_read_with_text_and_category():
    known = [subject("genre is drama. year is 1990.", "i2", "drama")]
    own, of_data_set = references(
        {**LINE, "category": "x"}, {**LINE, "item_id": "i2", "text": None}, subjects=known
    )
    assert (own.key, own.text, own.category, own.answer) == (
        None, "genre is drama.", "x", Answer("r", ("drama",), ("sad",)),
    )  # fmt: skip
    assert (of_data_set.key, of_data_set.text, of_data_set.category) == ("i2", known[0].text, "drama")
    assert len(own.id) == 12
    assert own.id != of_data_set.id


def test_an_id_of_another_data_set_is_another_item():
    """Only an equal text makes a reference the data set's own item."""
    (other,) = references(LINE, subjects=[subject("genre is comedy.", "i1")])
    assert (other.key, other.category) == (None, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**LINE, "text": None}, "line 1: 'i1' is not in the data set, so the reference needs its text"),
        ({**LINE, "category": 3}, "category must be a text or null, got 3"),
        ({**LINE, "implicit": []}, "line 1: the reference about 'i1': no implicit phrase"),
        ({**LINE, "implicit": ["Dramas"]}, "the reference about 'i1': every implicit phrase occurs in the text"),
        ({**LINE, "item_id": None, "user_id": "u"}, "expected is item_id or user_id"),
        ({"user_id": "u", **{k: v for k, v in LINE.items() if k != "item_id"}}, "has no reference for items"),
    ],
)
def test_an_invalid_reference_is_one_line(line, message):
    with pytest.raises(DataError, match=message):
        references(line)


@pytest.mark.parametrize(("level", "least"), [("item", 12), ("user", 8)])
def test_the_shipped_references_are_examples_to_follow(level, least):
    """Explicit phrases stand in the text, implicit ones do not, and all have one to four words."""
    from recbole_clickprompt.knowledge.answers import occurs

    found = read_references(find_knowledge("ml-100k-references"), level, [])
    assert len(found) >= least
    for line in found:
        assert all(occurs(phrase, line.text) for phrase in line.answer.explicit), line
        assert not any(occurs(phrase, line.text) for phrase in line.answer.implicit), line
        assert all(len(phrase.split()) <= 4 for phrase in (*line.answer.explicit, *line.answer.implicit)), line
        assert len(line.answer.reasoning) < 200

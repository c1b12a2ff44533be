"""Answers are read out of what models write, and written so that they are read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_clickprompt.knowledge.answers import Answer, AnswerError, clean, occurs, parse, render, with_text

SEVEN = Answer("A dark thriller.", ("crime", "1995 film"), ("serial killer", "detective", "dark mood"))
# Texts of every kind, also with line ends, separators, quotes and labels in them
anything = st.text(max_size=60) | st.sampled_from(
    [
        "Explicit: x",
        "reasoning: y",
        "- a; b.",
        "E.T.",
        "“quoted”",
        "1. one",
        ": x",
        "phrases: x",
        "Item: z",
        "**b**",
    ]
)


@given(anything, st.lists(anything, max_size=15), st.lists(anything, max_size=15))
def test_a_rendered_answer_is_parsed_to_itself(reasoning, explicit, implicit):
    try:
        answer = clean(reasoning, explicit, implicit)
    except AnswerError:
        return
    assert parse(f"Reasoning:{render(answer)}") == answer
    assert clean(*answer) == answer


words = st.text("abcxyzéß0123'-&", min_size=1, max_size=6).map(lambda w: f"a{w}z")
phrases = st.lists(words, min_size=1, max_size=8).map(" ".join)


@given(st.lists(words, max_size=9).map(" ".join), st.lists(phrases, min_size=2, max_size=12, unique=True))
def test_ordinary_answers_survive_without_the_first_label_too(reasoning, found):
    answer = Answer(reasoning, tuple(found[:1]), tuple(found[1:]))
    assert parse(render(answer)) == answer == parse(f"Reasoning:{render(answer)}")


def test_the_form_of_the_text():
    assert render(SEVEN) == (
        " A dark thriller.\nExplicit: crime; 1995 film\nImplicit: serial killer; detective; dark mood"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Reasoning: A dark thriller.\nExplicit: crime; 1995 film\nImplicit: serial killer; detective; dark mood",
        "**Reasoning:** A dark\nthriller.\n\n**Explicit:** Crime; crime.\n 1995 film\n"
        "**Implicit**: 'serial killer';; \"detective\"; dark mood.\n\nItem: Title is Heat.\nExplicit: police",
        "1. reasoning: A dark thriller.\n2. EXPLICIT PHRASES:\n- crime\n- 1995 film\n"
        "3. Implicit key phrases:\n1) serial killer\n2) detective\n3) dark mood\nReasoning: again",
        " A dark thriller.\nexplicit : crime; 1995 film\nimplicit : serial killer; detective; dark mood\n\nBye.",
        "Reasoning: A dark thriller.\nExplicit: crime; 1995 film\nImplicit: serial killer; detective; dark mood;"
        " a phrase of nine words is not a phrase any more\nProfile: she",
    ],
)
def test_decorated_answers_are_read(text):
    answer = parse(text)
    assert answer.reasoning == SEVEN.reasoning
    assert tuple(phrase.lower() for phrase in answer.explicit) == SEVEN.explicit
    assert answer.implicit == SEVEN.implicit


def test_quotes_around_a_part_of_a_phrase_stay():
    answer = parse(
        'Explicit: "help me" finale; \'90s film; the miners\'; “whole”\nImplicit: "one" and "two"; \'x\''
    )
    assert answer.explicit == ('"help me" finale', "'90s film", "the miners'", "whole")
    assert answer.implicit == ('"one" and "two"', "x")


def test_a_list_has_at_most_twelve_phrases_and_no_phrase_twice():
    many = "; ".join(f"p{n}" for n in range(20))
    answer = parse(f"Explicit: {many}; P3\nImplicit: p3; q; Q; 'q'")
    assert answer.explicit == tuple(f"p{n}" for n in range(12))
    assert answer.implicit == ("q",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line Explicit: in an empty answer"),
        ("It is a film.", "no line Explicit: in 'It is a film.'"),
        ("Explicit: crime", "no line Implicit: in 'Explicit: crime'"),
        ("Explicit:\nImplicit: x", "no explicit phrase of at most 8 words"),
        ("Explicit: x\nImplicit: a b c d e f g h i", "no implicit phrase of at most 8 words"),
        ("Explicit: crime\nImplicit: Crime", "no implicit phrase"),
    ],
)
def test_an_invalid_answer_says_what_is_missing(text, message):
    with pytest.raises(AnswerError, match=message.replace("(", r"\(")):
        parse(text)


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("Crime film", "genre is crime films. year is 1995.", True),
        ("comedy", "Genre is Comedies.", True),
        ("film crime", "genre is crime films.", False),
        ("class", "clas", False),
        ("art", "title is Party.", False),
        ("O'Hara's café", "title is O’Hara’s Café.", True),  # noqa: RUF001
        ("...", "title is ...", False),
    ],
)
def test_a_phrase_occurs_regardless_of_case_and_plural(phrase, text, found):
    assert occurs(phrase, text) is found


def test_implicit_phrases_that_are_in_the_text_become_explicit():
    text = "title is Se7en. genre is Crime. year is 1995."
    moved = with_text(Answer("r", ("1995",), ("Crimes", "dark")), text)
    assert moved == Answer("r", ("1995", "Crimes"), ("dark",))
    assert with_text(moved, text) is moved
    with pytest.raises(AnswerError, match="every implicit phrase occurs in the text"):
        with_text(Answer("r", ("1995",), ("crime",)), text)

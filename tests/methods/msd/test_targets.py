"""Targets of distillation: phrases change places, their meaning stays."""

import json

import numpy as np
import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.knowledge.answers import Answer, parse
from recbole_clickprompt.methods.msd.generation import Written
from recbole_clickprompt.methods.msd.phrase_dictionary import build_dictionary, read_dictionary
from recbole_clickprompt.methods.msd.targets import Targets, kept, target_text
from tests.forked import run

ANSWER = Answer("A dark story.", ("crime", "1995 film", "city"), ("serial killer", "detective", "rain", "sins"))


def targets(**changes):
    return Targets(seed=1, target="full", shuffle=True, dictionary={}, replace_rate=1.0)._replace(**changes)


def test_the_rendered_answer_is_read_again():
    assert parse(f"Reasoning:{target_text(ANSWER, 'full')}") == ANSWER
    phrases = target_text(ANSWER, "phrases")
    assert phrases.startswith("\nExplicit: crime;")
    assert parse(f"Reasoning:{phrases}") == ANSWER._replace(reasoning="")


def test_a_blank_in_place_of_a_line_end_is_mended():
    written = Written(target_text(ANSWER, "full").replace("\n", " "), 10, True)
    assert written.parsed() == ANSWER
    assert Written("no labels here", 3, False).parsed() is None


def test_phrases_are_permuted_within_their_list_by_seed_epoch_and_key():
    orders = set()
    for epoch in range(20):
        text = targets().text("item", "7", ANSWER, epoch)
        assert text == targets().text("item", "7", ANSWER, epoch)
        found = parse(f"Reasoning:{text}")
        assert found.reasoning == ANSWER.reasoning
        assert sorted(found.explicit) == sorted(ANSWER.explicit)
        assert sorted(found.implicit) == sorted(ANSWER.implicit)
        orders.add(text)
    assert len(orders) > 10
    assert len({targets().text("item", key, ANSWER, 0) for key in "abcdefgh"}) > 4
    assert len({targets(seed=seed).text("item", "7", ANSWER, 0) for seed in range(8)}) > 4
    plain = targets(shuffle=False)
    assert {plain.text("item", "7", ANSWER, epoch) for epoch in range(5)} == {target_text(ANSWER, "full")}


def test_another_process_has_the_same_targets():
    code = (
        "from tests.methods.msd.test_targets import targets, ANSWER;"
        "print(repr(targets().text('item', '7', ANSWER, 3)))"
    )
    done = run(["-c", code])  # which hashes texts in another way
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(targets().text("item", "7", ANSWER, 3))


def test_the_dictionary_replaces_a_share_of_the_phrases():
    dictionary = {"crime": ("felony", "offense"), "rain": ("wet weather",)}
    always = targets(shuffle=False, dictionary=dictionary)
    found = [parse(f"Reasoning:{always.text('item', str(n), ANSWER, 0)}") for n in range(40)]
    assert {answer.explicit[0] for answer in found} == {"felony", "offense"}
    assert {answer.explicit[1:] for answer in found} == {ANSWER.explicit[1:]}
    assert {answer.implicit[2] for answer in found} == {"wet weather"}
    seldom = targets(shuffle=False, dictionary=dictionary, replace_rate=0.1)
    texts = [seldom.text("item", str(n), ANSWER, 0) for n in range(1000)]
    replaced = sum("wet weather" in text for text in texts)
    assert 60 < replaced < 150
    upper = ANSWER._replace(explicit=("CRIME",))
    assert "CRIME" not in always.text("item", "1", upper, 0)


def test_dictionaries_are_read(tmp_path):
    path = tmp_path / "words.jsonl"
    path.write_text('{"phrase": "Crime", "same": ["felony"]}\n{"phrase": "rain", "same": ["shower", "drizzle"]}\n')
    assert read_dictionary(path) == {"crime": ("felony",), "rain": ("shower", "drizzle")}
    path.write_text(
        json.dumps({"phrase": "a", "same": ["b"]}) + "\n" + json.dumps({"phrase": "A", "same": ["c", "b"]}) + "\n"
    )
    assert read_dictionary(path) == {"a": ("b", "c")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"phrase": "a"}', "line 2: same must be a list of phrases"),
        ('{"phrase": "a", "same": "b"}', "line 2: same must be"),
        ('{"phrase": "a", "same": ["b; c"]}', "without semicolons"),
        ('{"phrase": "", "same": ["b"]}', "line 2: phrase must be a text"),
        ("[1]", "line 2: expected is a JSON object"),
        ("{", "line 2: not a JSON object"),
    ],
)
def test_bad_dictionaries_name_the_line(tmp_path, line, message):
    path = tmp_path / "words.jsonl"
    path.write_text('{"phrase": "a", "same": ["b"]}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        read_dictionary(path)


def test_a_dictionary_is_built_from_answers():
    degrees = {"dark mood": 0, "gloomy mood": 10, "dark tone": 15, "toys": 90, "Dark mood": 0}

    def encode(phrases):
        radians = np.deg2rad([degrees[phrase] for phrase in phrases])
        return np.stack([np.cos(radians), np.sin(radians)], 1)

    answers = [
        Answer("", ("dark mood",), ("toys",)), Answer("", ("gloomy mood",), ()), Answer("", ("dark tone",), ()),
        Answer("", ("Dark mood",), ()),
    ]  # fmt: skip
    assert build_dictionary(answers, encode, threshold=0.97) == {
        "dark mood": ("gloomy mood",), "dark tone": ("gloomy mood",),
        "gloomy mood": ("dark mood", "dark tone", "Dark mood"),
    }  # fmt: skip


def test_shares_are_nested_and_never_empty():
    keys = [f"k{n}" for n in range(100)]
    before = set(keys)
    for share in (0.5, 0.25, 0.125, 0.0625):
        chosen = kept(keys, share)
        assert len(chosen) == round(share * 100)
        assert set(chosen) < before
        assert chosen == sorted(chosen, key=keys.index)
        before = set(chosen)
    assert len(kept(keys, 0.0001)) == 1

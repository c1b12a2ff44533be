"""YAML is read as plain values of a bounded size, or refused with the place of the fault."""

import re

import pytest
import yaml

from recbole_clickprompt.host.plain_yaml import load_yaml

EXPANDING = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "a value contains itself"),
        ("a: &s {a: *s}", "a value contains itself"),
        (EXPANDING, "more than 100,000 values"),
        ("a: " + "[" * 3000, "nested more than 50 deep"),
        ("a: " + "{a: " * 3000, "nested more than 50 deep"),
        ("a: 1\nb: 2\na: 3", r"the key 'a' is there twice.*line 3"),
        ("{yes: 1, true: 2}", "two keys are equal"),
        ("1: a\n1.0: b", "two keys are equal"),
        ("? [a, b]\n: c", "a key must be a text or a number"),
        ("a: !!int ''", "'' cannot be read as int.*line 1"),
        ("a: !!int x", "'x' cannot be read as int"),
        ("a: !!bool x", "'x' cannot be read as bool"),
        ("a: " + "1" * 5000, "cannot be read as int"),
        ("a: !!binary 'é'", "'tag:yaml.org,2002:binary' is no type of a setting"),
        ("a: !!set {b}", "is no type of a setting"),
        ("a: !!python/object/apply:os.getcwd []", "is no type of a setting"),
        ("<<: 1", "expected a mapping"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_plain_value_is_refused(text, message):
    with pytest.raises(yaml.YAMLError) as error:
        load_yaml(text)
    assert re.search(message, " ".join(str(error.value).split()))


def test_dates_are_texts_whether_or_not_there_is_such_a_day():
    assert load_yaml("[2020-02-30, 2020-02-20, 2020-01-01 10:00:00]") == [
        "2020-02-30", "2020-02-20", "2020-01-01 10:00:00",
    ]  # fmt: skip


def test_a_repeated_anchor_and_a_merged_mapping_with_own_keys_are_read():
    text = "a: &x {b: 1}\nc: {<<: *x, b: 2, d: 3}\ne: [*x, *x]\nf: 1e-3"
    assert load_yaml(text) == {"a": {"b": 1}, "c": {"b": 2, "d": 3}, "e": [{"b": 1}, {"b": 1}], "f": 1e-3}


def test_texts_stay_as_they_are_written():
    assert load_yaml("{NO: 007, a: [1:30]}", as_texts=True) == {"NO": "007", "a": ["1:30"]}
    assert load_yaml("x: {NO: 007}\ny: NO", text_keys=["x", "y"]) == {"x": {"NO": "007"}, "y": False}


def test_a_document_that_is_read_again_is_not_changed_by_who_read_it_before():
    load_yaml("a: [1]")["a"].append(2)
    assert load_yaml("a: [1]") == {"a": [1]}
    assert load_yaml("a: 007") == {"a": 7}
    assert load_yaml("a: 007", as_texts=True) == {"a": "007"}

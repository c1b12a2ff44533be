"""What the questions of a batch share is read once, and changes nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_clickprompt.knowledge.teachers.local import LocalTeacher
from recbole_clickprompt.knowledge.teachers.shared_prefix import (
    in_batches,
    pad_after_prefix,
    read_once,
    shares_prefixes,
)
from tests.knowledge.test_local import REFERENCES, prompts, replies, save


def test_padding_follows_what_all_rows_share():
    start = list(range(3, 23))
    rows = pad_after_prefix([[*start, 1, 2], [*start, 1, 5, 6, 7]], pad=0, share=True)
    assert rows.prefix_len == 21
    assert rows.tokens.tolist() == [[*start, 1, 0, 0, 2], [*start, 1, 5, 6, 7]]
    assert rows.mask.tolist() == [[1] * 21 + [0, 0, 1], [1] * 24]


def test_rows_that_share_little_are_padded_on_the_left():
    rows = pad_after_prefix([[5, 6], [5, 7, 8]], pad=0, share=True)
    assert (rows.prefix_len, rows.tokens.tolist()) == (0, [[0, 5, 6], [5, 7, 8]])
    many = [list(range(30)), list(range(30))]
    assert pad_after_prefix(many, pad=0, share=False).prefix_len == 0
    assert pad_after_prefix(many[:1], pad=0, share=True).prefix_len == 0
    assert pad_after_prefix(many, pad=0, share=True).prefix_len == 29  # one token is left to read


@pytest.mark.parametrize(("family", "shares"), [("llama", True), ("qwen2", True), ("gpt2", True), ("t5", False)])
def test_states_after_a_shared_beginning_are_those_of_whole_rows(family, shares, tmp_path):
    teacher = LocalTeacher(save(tmp_path, family), answer_tokens=8)
    assert shares_prefixes(teacher.model) is shares
    if not shares:
        return
    questions = [teacher.tokens(prompt) for prompt in prompts(3, REFERENCES[0])]
    rows = pad_after_prefix(questions, pad=0, share=True)
    assert rows.prefix_len > 200
    with torch.no_grad():
        cache = read_once(teacher.model, rows)
        positions = (rows.mask.cumsum(1) - 1).clamp(min=0)[:, rows.prefix_len :]
        states = teacher.model(
            input_ids=rows.tokens[:, rows.prefix_len :], attention_mask=rows.mask, past_key_values=cache,
            position_ids=positions,
        ).logits[:, -1]  # fmt: skip
        for question, state in zip(questions, states, strict=True):
            assert torch.allclose(state, teacher.model(torch.tensor([question])).logits[0, -1], atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_answers_with_a_shared_beginning_are_those_without_one(family, tmp_path, monkeypatch):
    teacher = LocalTeacher(save(tmp_path, family), answer_tokens=24)
    teacher.lines.line_ends |= dict.fromkeys(range(2, 258, 4), "")  # a random model hardly ever ends a line
    asked = [*prompts(4, REFERENCES[0]), *(p._replace(subject=p.subject._replace(key=f"j{n}"))
                                           for n, p in enumerate(prompts(4, REFERENCES[1])))]  # fmt: skip
    shared = {key: reply.text for key, reply in replies(teacher, asked).items()}
    assert len(shared) == 8
    assert len({reply.tokens_out for reply in replies(teacher, asked).values()}) > 1  # rows end one by one
    monkeypatch.setattr(LocalTeacher, "_rows", lambda self, length: 1)
    assert {key: reply.text for key, reply in replies(teacher, asked).items()} == shared
    # and by transformers' own loop, which models with other caches use
    monkeypatch.undo()
    monkeypatch.setattr(teacher, "_full_attention", False)
    assert {key: reply.text for key, reply in replies(teacher, asked).items()} == shared


def test_a_batch_ends_where_the_example_changes_unless_it_would_be_small():
    groups = [("a", 9)] * 6 + [("b", 8)] * 2 + [("c", 7)] * 2
    assert in_batches(groups, [4] * 10) == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9]]
    assert in_batches(groups, [8] * 10) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert in_batches([("a", 3), ("b", 9), ("a", 5)], [9] * 3) == [[1, 2, 0]]
    assert in_batches([], []) == []


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(1, 20), st.integers(1, 6)), max_size=30))
def test_every_question_is_in_one_batch_that_is_not_too_large(questions):
    groups, most = [(example, length) for example, length, _ in questions], [rows for *_, rows in questions]
    batches = in_batches(groups, most)
    assert sorted(number for batch in batches for number in batch) == list(range(len(questions)))
    assert all(len(batch) <= min(most[number] for number in batch) for batch in batches)

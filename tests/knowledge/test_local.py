"""A model on this machine as the teacher, compared with a plain loop that writes one token after the other."""

import pytest
import torch
import transformers as tf

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.knowledge.answers import Answer
from recbole_clickprompt.knowledge.prompts import Reference, Subject, build_prompt
from recbole_clickprompt.knowledge.teachers import local
from recbole_clickprompt.knowledge.teachers.labeled_lines import LABELS, LabeledLines
from recbole_clickprompt.knowledge.teachers.local import LocalTeacher
from tests.conftest import _byte_pairs
from tests.plm.generative_models import byte_tokenizer, config_of

CHAT = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def save(folder, family="llama", *, chat=False, tokenizer=None, positions=2048, seed=3):
    """A small random model with enough positions for prompts of bytes."""
    torch.manual_seed(seed)
    config = config_of(family, layers=2)
    for name in ("max_position_embeddings", "n_positions"):
        if hasattr(config, name):
            setattr(config, name, positions)
    kind = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    if tokenizer is not None:
        config.vocab_size = len(tokenizer)
        config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model = kind.from_config(config)
    model.generation_config.update(repetition_penalty=9.0, do_sample=True, max_length=7)  # which must not matter
    model.save_pretrained(folder)
    tokenizer = tokenizer or byte_tokenizer()
    tokenizer.chat_template = CHAT if chat else None
    tokenizer.save_pretrained(folder)
    return str(folder)


REFERENCES = [Reference(f"r{n}", None, f"title is {n}.", None, Answer("r", ("a",), ("b",))) for n in range(2)]


def prompts(number=5, reference=None):
    """Of very different lengths."""
    return [
        build_prompt(Subject(f"i{n}", "item", f"title is {'long ' * (7 * (n % 3))}{n}.", "all"), reference)
        for n in range(number)
    ]


def replies(teacher, asked=None):
    found = [reply for batch in teacher.answer(asked or prompts(), lambda: False) for reply in batch]
    return {reply.prompt.subject.key: reply for reply in found}


def one_by_one(teacher, prompt, answer_tokens):
    """The answer of a loop without a batch, a cache, padding and `generate`."""
    tokenizer, model = teacher.tokenizer, teacher.model
    asked = tokenizer(
        tokenizer.apply_chat_template(
            [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            tokenize=False, add_generation_prompt=True,
        )
        if tokenizer.chat_template
        else f"{tokenizer.bos_token or ''}{prompt.system}\n\n{prompt.user}",
        add_special_tokens=False,
    )["input_ids"]  # fmt: skip
    written = [model.generation_config.decoder_start_token_id] if teacher.encoder_decoder else list(asked)
    lines = []
    for number, label in enumerate(LABELS):
        written += tokenizer(("\n" if number else "") + label, add_special_tokens=False)["input_ids"]
        line, cut = [], True
        budget = answer_tokens // (2 if number == 0 else 4)
        while len(line) < budget:
            inputs = {"input_ids": torch.tensor([asked if teacher.encoder_decoder else written])}
            if teacher.encoder_decoder:
                inputs["decoder_input_ids"] = torch.tensor([written])
            with torch.no_grad():
                scores = model(**inputs).logits[0, -1, : len(tokenizer)]
            ends = [
                t for t in range(len(tokenizer)) if "\n" in tokenizer.decode([t]) or t in tokenizer.all_special_ids
            ]
            token = int(scores.argmax())
            if token in ends and line:
                cut = False
                break
            if token in ends:
                scores[ends] = -torch.inf
                token = int(scores.argmax())
            line.append(token)
            written.append(token)
        if len(line) == budget:
            cut = True
        text = tokenizer.decode(line)
        lines.append(f"{label} {(text.rpartition(';')[0] if cut and number and ';' in text else text).strip()}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("family", "chat"), [("llama", True), ("llama", False), ("gpt2", True), ("t5", False), ("bart", False)]
)
def test_answers_of_a_batch_are_those_of_a_plain_loop(family, chat, tmp_path):
    teacher = LocalTeacher(save(tmp_path, family, chat=chat), answer_tokens=12)
    found = replies(teacher)
    assert len(found) == 5
    for prompt in prompts():
        assert found[prompt.subject.key].text == one_by_one(teacher, prompt, 12)


def test_every_answer_has_three_labeled_lines_with_content(tmp_path):
    teacher = LocalTeacher(save(tmp_path), answer_tokens=20)
    for reply in replies(teacher).values():
        lines = reply.text.split("\n")
        assert [line.partition(" ")[0] for line in lines] == list(LABELS)
        assert reply.error is None
        assert 6 <= reply.tokens_out <= teacher.lines.most_tokens
        assert reply.seconds > 0
        count, how = teacher.count_tokens(reply.prompt)
        assert (reply.tokens_in, how) == (count, "counted by the model's tokenizer")


def test_answers_do_not_depend_on_the_batch(tmp_path, monkeypatch):
    """On two tokenizers: one token per byte, and whole words."""
    pairs, special = _byte_pairs(causal=True)
    words = tf.PreTrainedTokenizerFast(tokenizer_object=pairs, **special)
    for folder, tokenizer in (("bytes", None), ("words", words)):
        teacher = LocalTeacher(save(tmp_path / folder, tokenizer=tokenizer), answer_tokens=16)
        together = {key: reply.text for key, reply in replies(teacher).items()}
        monkeypatch.setattr(LocalTeacher, "_rows", lambda self, length: 1)
        assert {key: reply.text for key, reply in replies(teacher).items()} == together
        monkeypatch.undo()


def test_batches_are_bounded_and_the_longest_prompts_come_first(tmp_path, monkeypatch):
    monkeypatch.setitem(local._MOST_ROWS, "cpu", 2)
    teacher = LocalTeacher(save(tmp_path), answer_tokens=4)
    batches = list(teacher.answer(prompts(5), lambda: False))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    lengths = [reply.tokens_in for batch in batches for reply in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_a_stop_ends_after_a_batch(tmp_path, monkeypatch):
    teacher = LocalTeacher(save(tmp_path), answer_tokens=4)
    monkeypatch.setattr(LocalTeacher, "_rows", lambda self, length: 1)
    found: list = []
    for batch in teacher.answer(prompts(5), lambda: bool(found)):
        found.extend(batch)
    assert len(found) == 1


def test_the_name_and_decoding_change_with_weights_and_length(tmp_path):
    first = LocalTeacher(save(tmp_path / "a"), answer_tokens=8)
    other = LocalTeacher(save(tmp_path / "b", seed=4), answer_tokens=9)
    assert first.name.startswith("local:a@")
    assert str(tmp_path) not in first.name
    assert first.name.partition("@")[2] != other.name.partition("@")[2]
    assert first.decoding == "greedy, labeled lines, 8 tokens, float32"
    assert other.decoding != first.decoding


def test_a_prompt_that_is_too_long_for_the_model_is_an_error_of_its_own(tmp_path):
    teacher = LocalTeacher(save(tmp_path, positions=700), answer_tokens=8)
    asked = [*prompts(2), build_prompt(Subject("long", "item", "x" * 900, "all"), None)]
    found = replies(teacher, asked)
    assert found["long"].text is None
    assert found["long"].error.startswith("the prompt has more than ")
    assert found["i0"].text


def test_a_template_that_refuses_a_system_message_gets_one_message(tmp_path):
    folder = save(tmp_path, chat=True)
    teacher = LocalTeacher(folder, answer_tokens=4)
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    teacher.tokenizer.chat_template = refusal + "{{ messages[0].content }}"
    prompt = prompts(1)[0]
    assert teacher._chat(prompt).rstrip() == f"{prompt.system}\n\n{prompt.user}".rstrip()
    teacher.tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(WeightsError, match="its chat template cannot be used: never"):
        replies(teacher)


def test_what_is_no_model_is_one_line(tmp_path, tiny_bert):
    with pytest.raises(WeightsError, match="there is no such folder"):
        LocalTeacher(str(tmp_path / "gone"))
    with pytest.raises(WeightsError, match="does not generate text"):
        LocalTeacher(str(tiny_bert))


def test_a_line_ends_at_a_token_that_has_more_than_the_line_end():
    """Tokens such as ".\\n" give their beginning to the line."""
    pairs = byte_tokenizer()
    pairs.add_tokens([".\n"])
    lines = LabeledLines(pairs, answer_tokens=40)
    writer = lines.writer(rows=1)
    given = [*pairs("yes", add_special_tokens=False)["input_ids"], len(pairs) - 1]
    for token in [0] * len(lines.labels[0]) + given:
        scores = torch.zeros(1, len(pairs) + 3)
        scores[0, token] = 1.0
        scores[0, -1] = 9.0  # a row of the model that is no token
        left = writer(torch.zeros(1, 1), scores)
        assert int((left == 0).sum()) == 1
    assert writer.text(0).startswith("Reasoning: yes.\nExplicit:")

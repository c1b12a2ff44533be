"""The student's texts and their tokens."""

import pytest
from tokenizers import processors

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.msd.texts import student_tokens
from recbole_clickprompt.text.descriptions import descriptions, profile_descriptions
from tests.plm.generative_models import byte_tokenizer

from .distilled_method import prepared


def tokenizer(before="", after=""):
    """A byte tokenizer that adds special tokens around a text."""
    made = byte_tokenizer(pad_token="<pad>")
    parts = [f"{token} " for token in (before, after) if token]
    if parts:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{f'{before} ' if before else ''}$A{f' {after}' if after else ''}",
            special_tokens=[("<end>", 0), ("<pad>", 1)],
        )
    return made


def decoded(made, ids):
    return [made.decode(text) for text in ids]


@pytest.mark.parametrize("encoder_decoder", [False, True])
@pytest.mark.parametrize("special", [("", ""), ("<pad>", ""), ("", "<end>"), ("<pad>", "<end>")])
def test_special_tokens_are_the_tokenizers_but_a_causal_text_goes_on(special, encoder_decoder):
    made = tokenizer(*special)
    (ids,) = student_tokens(made, "item", ["A."], max_length=50, encoder_decoder=encoder_decoder)
    before, after = special
    assert made.decode(ids) == f"{before}Item: A.\nReasoning:{after if encoder_decoder else ''}"
    (ids,) = student_tokens(made, "user", [""], max_length=50, encoder_decoder=encoder_decoder)
    assert made.decode(ids) == f"{before}Profile: \nReasoning:{after if encoder_decoder else ''}"


def test_long_texts_lose_their_end_but_not_the_label():
    made = tokenizer("<pad>")
    long = "Title is " + "x" * 100
    whole, cut = (student_tokens(made, "item", [long], max_length=n, encoder_decoder=False)[0] for n in (500, 40))
    assert len(cut) == 40
    assert made.decode(cut).endswith("x\nReasoning:")
    assert cut[:29] == whole[:29]
    with pytest.raises(SettingError, match="max_text_length is 12, but the student needs 12 tokens around"):
        student_tokens(made, "item", [long], max_length=12, encoder_decoder=False)
    assert student_tokens(made, "item", [], max_length=40, encoder_decoder=False) == []


def test_descriptions_have_no_ids_and_missing_values_no_words():
    _, data = prepared()
    training = data[0]._dataset
    items, users = (descriptions(training, level) for level in ("item", "user"))
    assert items[0] == users[0] == ""
    assert len(items) == training.num("item_id")
    token = {str(training.id2token("item_id", n)): n for n in range(1, len(items))}
    assert items[token["i1"]] == "title is Bitter Garden. year is 1996. genre is Sci-Fi Drama."
    assert items[token["i0"]] == "title is Happy Summer, The."
    assert all("ID" not in text and "device" not in text for text in (*items, *users))


def test_profiles_show_items_clicked_by_then():
    _, data = prepared(user_knowledge="blocks", user_blocks=2)
    training = data[0]._dataset
    texts = profile_descriptions(training)
    assert len(texts) == len(training.user_profiles)
    users = descriptions(training, "user")
    for number, (text, user) in enumerate(zip(texts, training.user_profiles.users.tolist(), strict=True)):
        items = training.user_profiles.items_of(number)
        assert text.startswith(users[user])
        assert text.count(";") >= max(0, len(items) - 1)
        assert ("Liked: " in text) == bool(items)
    assert any("Liked: " in text for text in texts)

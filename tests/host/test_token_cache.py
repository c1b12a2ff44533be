"""Tokens of many texts: made once, the same out of the file, never another text's."""

from pathlib import Path

import pytest
import torch

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.host import token_cache
from recbole_clickprompt.host.dataset_tokens import build_token_table

SANDWICH = {"gender": "gender", "title": "title", "age": "age"}  # a user's text on both sides of the item's


def files():
    return sorted(path.name for path in Path("saved").glob("tokens-*"))


def table_of(make_config, make_data, **settings):
    config = make_config(**settings)
    return make_data(config)[0]._dataset.token_table(config["plm"])


@pytest.fixture
def all_are_many(monkeypatch):
    monkeypatch.setattr(token_cache, "_CACHED_FROM", 1)


def test_few_texts_leave_no_file(make_config, make_data):
    table_of(make_config, make_data)
    assert files() == []


@pytest.mark.parametrize("settings", [{}, {"text_fields": SANDWICH}])
def test_a_second_data_set_reads_what_the_first_has_made(
    make_config, make_data, all_are_many, monkeypatch, settings
):
    expected = dict(table_of(make_config, make_data, **settings).named_buffers())
    assert len(files()) == 1
    monkeypatch.setattr(token_cache, "tokenize", None)
    table = table_of(make_config, make_data, **settings)
    assert table.keys == (["user_id", "item_id", "user_id"] if settings else ["user_id", "device", "item_id"])
    found = dict(table.named_buffers())
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype is tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_tokenizer_in_use_finds_the_file_that_it_made_when_new(
    make_config, make_data, all_are_many, monkeypatch
):
    config = make_config()
    dataset = make_data(config)[0]._dataset
    dataset.token_table(config["plm"])
    monkeypatch.setattr(token_cache, "tokenize", None)
    tokenizer = dataset.tokenizer(config["plm"])
    tokenizer("a text", truncation=True, max_length=3, padding="max_length")
    table = build_token_table(dataset, tokenizer, Path(config["plm"]))
    assert torch.equal(table.get_buffer("values_0"), dataset.token_table(config["plm"]).get_buffer("values_0"))


def test_another_text_or_tokenizer_has_a_file_of_its_own(make_config, make_data, all_are_many, tiny_roberta):
    table_of(make_config, make_data)
    table_of(make_config, make_data, max_text_length=20)  # cut when rows are put together
    assert len(files()) == 1
    others = [
        {"shuffle_text": True},
        {"text_fields": SANDWICH},
        {"value_labels": {"gender": {"F": "woman"}}},
        {"plm": str(tiny_roberta)},
    ]
    for number, settings in enumerate(others, 2):
        table_of(make_config, make_data, **settings)
        assert len(files()) == number


@pytest.mark.parametrize("how", ["flipped", "truncated", "foreign"])
def test_a_damaged_file_is_refused_by_name(make_config, make_data, all_are_many, how):
    table_of(make_config, make_data)
    (name,) = files()
    path = Path("saved") / name
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-1] ^= 1
    elif how == "truncated":
        content = content[:-5]
    else:
        content = bytearray(b"tokens")
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} is damaged.*; delete it, and it is created again"):
        table_of(make_config, make_data)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("offsets_0", lambda array: array.half()),
        ("offsets_0", lambda array: array + 1),
        ("offsets_1", lambda array: array[:-1]),
        ("offsets_1", lambda array: array.flip(0)),
        ("tokens_0", lambda array: array + 10**6),
        ("tokens_0", lambda array: array[None]),
        ("fields_0", lambda array: array[:-1]),
        ("fields_0", lambda array: array + 100),
        ("keys", lambda keys: keys.replace("user_id", "item_id")),
    ],
)
def test_another_content_with_a_right_checksum_is_refused(make_config, make_data, all_are_many, name, change):
    table_of(make_config, make_data)
    (file,) = files()
    path = Path("saved") / file
    metadata, tensors = token_cache._CACHE.read(path)
    parts = {**metadata, **{key: tensor.clone() for key, tensor in tensors.items()}}
    parts[name] = change(parts[name])
    token_cache._CACHE.write(path, {key: parts[key] for key in tensors}, {"keys": parts["keys"]})
    with pytest.raises(WeightsError, match=f"{file} is damaged: it does not hold the tokens of this text"):
        table_of(make_config, make_data)

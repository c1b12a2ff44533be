"""``plm: hashed``: numbers as tokens, weights that depend on the seed alone."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.errors import StorageError
from recbole_clickprompt.host.properties import read_yaml
from recbole_clickprompt.plm.hashed import NUM_BUCKETS, find_hashed
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer, longest_text
from recbole_clickprompt.plm.weight_files import weights_hash
from recbole_clickprompt.plm.weights import find_plm, kept_plm
from tests.conftest import ROOT

EXPECTED = "e39f32d5e0d2fdb088f5b42d4847afce0b7541439574bf53b3a93dde9e1eb0b1"  # weights of seed 1, on any machine


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of the user that the tests of this file share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield patch


@pytest.fixture(scope="module")
def tokenizer(cache):
    return load_tokenizer(find_plm("hashed", seed=1))


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**20), min_size=1, max_size=8))
def test_a_number_is_one_token_its_value_modulo_the_buckets(tokenizer, numbers):
    expected = [str(number % NUM_BUCKETS) for number in numbers]
    assert tokenizer.tokenize(" ".join(map(str, numbers))) == expected
    assert tokenizer.tokenize(" ".join(f"00{number}" for number in numbers)) == expected


def test_words_of_the_sentences_of_kdd2012_are_whole_and_others_are_letters(tokenizer):
    properties = read_yaml(ROOT / "props" / "dataset" / "kdd2012.yaml")
    labels = [label for labels in properties["value_labels"].values() for label in labels.values()]
    words = {word for text in ("is", *properties["text_fields"].values(), *labels) for word in str(text).split()}
    split = {word: tokenizer.tokenize(word) for word in words if not word[0].isdigit()}
    assert {word: len(pieces) for word, pieces in split.items()} == dict.fromkeys(split, 1)
    assert ["[UNK]"] not in split.values()
    assert tokenizer.tokenize("Café u12345. x_12345") == [
        *("c", "##a", "##f", "##e", "u", "##1", "##2", "##3", "##4", "##5", ".", "x", "_", "2345")
    ]
    assert tokenizer.tokenize("Ω") == ["[UNK]"]


def test_weights_depend_on_the_seed_alone(cache, tmp_path, monkeypatch):
    first, other = find_plm("hashed", seed=1), find_plm("hashed", seed=2)
    assert find_plm("hashed", seed=1) == first
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(5)
    np.random.seed(5)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    again = find_plm("hashed", seed=1)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()
    assert again.is_relative_to(tmp_path)
    for file in first.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()
        assert file.name == "model.safetensors" or (other / file.name).read_bytes() == file.read_bytes()
    assert weights_hash(first) == EXPECTED
    assert weights_hash(other) != weights_hash(first)
    assert sorted(path.name for path in again.parent.iterdir()) == [again.name]


def test_it_is_a_small_bert_that_loads_as_any_other_plm(cache):
    folder = find_plm("hashed")
    plm = load_plm(folder, num_layers=None, dropout=None)
    assert not plm.head_is_new
    assert plm.encoder.config.model_type == "bert"
    assert sum(weight.numel() for weight in plm.encoder.parameters()) < 2_500_000
    weights = plm.encoder.embeddings.word_embeddings.weight.detach()
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert plm.encoder.encoder.layer[0].output.LayerNorm.weight.eq(1).all()
    assert longest_text(folder) == 512
    assert kept_plm("hashed") == "hashed"
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == len(load_tokenizer(folder))


def test_a_cache_that_cannot_be_written_is_one_error(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="plm hashed: .* set the environment variable XDG_CACHE_HOME"):
        find_hashed(1)

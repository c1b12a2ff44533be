"""What is read of a PLM folder lies in it, and all weights that are loaded are in the weights' hash."""

import json
import os
import shutil

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer
from recbole_clickprompt.plm.read_weights import weights_follow
from recbole_clickprompt.plm.weight_files import copy_plm, lacks_weights, stored_shapes, text_files_hash
from recbole_clickprompt.plm.weights import find_plm, weights_hash


def copy(folder, target):
    shutil.copytree(folder, target)
    return target


def load(folder):
    return load_plm(find_plm(str(folder)), num_layers=None, dropout=None)


@pytest.fixture
def sharded(tiny_bert, tmp_path):
    """A folder whose weights are in several files."""
    folder = copy(tiny_bert, tmp_path / "plm")
    (folder / "model.safetensors").unlink()
    tf.AutoModelForMaskedLM.from_pretrained(tiny_bert).save_pretrained(folder, max_shard_size="4KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def test_shards_are_loaded_and_hashed_together_with_their_index(tiny_bert, sharded):
    whole = load(tiny_bert).encoder.state_dict()
    assert all(value.equal(whole[name]) for name, value in load(sharded).encoder.state_dict().items())
    before = weights_hash(sharded)
    (sharded / "unused.safetensors").write_bytes(b"is not loaded")
    assert weights_hash(sharded) == before
    index = sharded / "model.safetensors.index.json"
    index.write_text(index.read_text() + "\n")
    assert weights_hash(sharded) != before


def test_one_file_of_weights_comes_before_an_index_and_is_hashed_alone(tiny_bert, sharded):
    shutil.copy(tiny_bert / "model.safetensors", sharded)
    assert weights_hash(find_plm(str(sharded))) == weights_hash(tiny_bert)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/outside.safetensors", "a\\b.safetensors", "x.bin", 3]
)
def test_an_index_that_points_outside_its_folder_is_refused(sharded, name):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], name)
    path.write_text(json.dumps(index))
    for read in (load, weights_hash):
        with pytest.raises(WeightsError, match="index.json: weight_map names .* is expected"):
            read(sharded)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "index.json cannot be read as JSON"),
        ("[]", "index.json must contain a JSON object"),
        ("{}", "index.json: weight_map must be an object"),
        ('{"weight_map": []}', "index.json: weight_map must be an object"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "index.json names gone.safetensors, which is not in"),
    ],
)
def test_an_index_of_another_form_is_refused(sharded, content, message):
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match=message):
        find_plm(str(sharded))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_that_leads_outside_the_folder_is_refused(tiny_bert, tmp_path, file):
    folder = copy(tiny_bert, tmp_path / "plm")
    os.replace(folder / file, tmp_path / "elsewhere")
    (folder / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match=f"{file} is a link to .*elsewhere, which is not a file inside"):
        find_plm(str(folder))


def test_a_folder_of_the_hubs_cache_is_links_into_the_same_repository_and_is_read(tiny_bert, tmp_path):
    blobs, folder = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted(tiny_bert.iterdir())):
        shutil.copy(file, blobs / str(number))
        (folder / file.name).symlink_to(f"../../blobs/{number}")
    assert load(folder).encoder.config.hidden_size == 16
    (tmp_path / "linked").symlink_to(folder)
    assert weights_hash(find_plm(str(tmp_path / "linked"))) == weights_hash(tiny_bert)


def test_an_adapter_in_the_folder_is_refused(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    with pytest.raises(WeightsError, match="adapter_config.json: .* merge it first"):
        find_plm(str(folder))


def test_a_vocabulary_that_a_tokenizer_config_takes_from_elsewhere_is_refused(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    path = folder / "tokenizer_config.json"
    elsewhere = {"vocab": "/elsewhere/vocab.txt", "tokenizer_class": "BertTokenizer"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **elsewhere}))
    with pytest.raises(WeightsError, match="tokenizer_config.json: vocab is '/elsewhere/vocab.txt'"):
        load_tokenizer(folder)


@pytest.mark.parametrize(("dtype", "name"), [(torch.int8, "I8"), (torch.bool, "BOOL"), (torch.int64, "I64")])
def test_weights_that_are_no_floating_point_numbers_are_refused(tiny_bert, tmp_path, dtype, name):
    folder = copy(tiny_bert, tmp_path / "plm")
    file = folder / "model.safetensors"
    weights = load_file(file)
    weight = next(key for key in weights if key.endswith("word_embeddings.weight"))
    save_file({**weights, weight: weights[weight].to(dtype)}, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=f"model.safetensors stores {weight} as {name}; expected is one of F64"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_read(tiny_bert, tmp_path, dtype):
    folder = copy(tiny_bert, tmp_path / "plm")
    file = folder / "model.safetensors"
    save_file({key: w.to(dtype) for key, w in load_file(file).items()}, file, metadata={"format": "pt"})
    expected = load(tiny_bert).encoder.get_input_embeddings().weight
    torch.testing.assert_close(load(folder).encoder.get_input_embeddings().weight, expected, atol=1e-2, rtol=0)


def test_a_copy_without_weights_has_their_hash_and_shapes(tiny_bert, tmp_path):
    copy_plm(tiny_bert, tmp_path / "without", weights=False)
    assert lacks_weights(find_plm(str(tmp_path / "without")))
    assert weights_hash(tmp_path / "without") == weights_hash(tiny_bert)
    assert stored_shapes(tmp_path / "without") == stored_shapes(tiny_bert)
    assert text_files_hash(tmp_path / "without") == text_files_hash(tiny_bert)
    with weights_follow():
        assert load(tmp_path / "without").encoder.config.hidden_size == 16
    (tmp_path / "without" / "weights.json").write_text('{"sha256": "0", "shapes": {"x": [-1]}}')
    with pytest.raises(WeightsError, match=r"weights.json must have the sha256 and the shapes"):
        load(tmp_path / "without")


def test_a_file_of_that_name_next_to_weights_is_like_any_other(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    (folder / "weights.json").write_text('{"scale": 1}')
    assert not lacks_weights(folder)
    assert load(folder).encoder.config.hidden_size == 16
    assert text_files_hash(folder) != text_files_hash(tiny_bert)

"""Checksummed files of tensors, and those that earlier versions wrote."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recbole_clickprompt.errors import StorageError, WeightsError
from recbole_clickprompt.host import token_cache
from recbole_clickprompt.plm import cached_states
from recbole_clickprompt.tensor_cache import TensorCache
from recbole_clickprompt.trainer import pretrained_checkpoint

CACHE = TensorCache("a-format-1", "cache of a test", "delete it")
TENSORS = {
    "rows": torch.arange(6.0).view(2, 3),
    "half": torch.ones(5, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "none": torch.empty(0, 3),
    "one": torch.tensor(7),
}


def raw(tensor):
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def test_what_is_written_is_read():
    CACHE.write(Path("folder/file"), TENSORS, {"keys": "[1]"})
    metadata, tensors = CACHE.read(Path("folder/file"))
    assert metadata["keys"] == "[1]"
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype is tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert [path.name for path in Path("folder").iterdir()] == ["file"]


def test_every_changed_byte_and_every_cut_is_refused_by_name():
    CACHE.write(Path("file"), TENSORS)
    content = Path("file").read_bytes()
    spoilt = [content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :] for at in range(len(content))]
    spoilt += [content[:size] for size in range(0, len(content), 7)]
    for number, changed in enumerate(spoilt):
        Path("file").write_bytes(changed)
        try:  # a changed name of a key or a blank more is no change of the content
            _, tensors = CACHE.read(Path("file"))
        except WeightsError as error:
            assert str(error).startswith("file is ")  # noqa: PT017
            assert str(error).endswith("; delete it")  # noqa: PT017
        else:
            assert number < len(content)
            assert tensors.keys() == TENSORS.keys()
            assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_another_format_is_refused_by_both_names():
    TensorCache("a-format-2", "cache of a test", "delete it").write(Path("file"), TENSORS)
    with pytest.raises(
        WeightsError, match=r"file is not a cache of a test \(a-format-1\), but a-format-2; delete it"
    ):
        CACHE.read(Path("file"))


def test_a_tensor_written_in_place_is_a_safetensors_file_with_a_checksum():
    def fill(numbers):
        numbers[:] = torch.arange(6).view(2, 3).to(torch.bfloat16).view(torch.int16).numpy()

    CACHE = TensorCache("in-place-1", "cache of a test", "delete it", lambda _, tensors: [tensors["rows"]])
    CACHE.write_in_place(Path("folder/file"), "rows", (2, 3), fill)
    expected = torch.arange(6).view(2, 3).to(torch.bfloat16)
    assert torch.equal(CACHE.read(Path("folder/file"))[1]["rows"], expected)
    assert torch.equal(load_file("folder/file")["rows"], expected)


def test_a_failure_while_it_is_filled_leaves_no_file():
    def fill(numbers):
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="folder/file cannot be written: No space left on device"):
        CACHE.write_in_place(Path("folder/file"), "rows", (2, 3), fill)
    assert list(Path("folder").iterdir()) == []


def sha256(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def test_files_of_tokens_of_earlier_versions_are_read():
    tensors = {
        "tokens_0": torch.tensor([5, 6], dtype=torch.int32),
        "fields_0": torch.tensor([1, 0], dtype=torch.uint8),
        "offsets_0": torch.tensor([0, 0, 2]),
    }
    checksum = sha256(b"item_id", *(raw(tensor) for tensor in tensors.values()))
    metadata = {"format": "clickprompt-tokens-1", "keys": '["item_id"]', "sha256": checksum}
    save_file(tensors, "file", metadata=metadata)
    assert token_cache._CACHE.read(Path("file"))[1].keys() == tensors.keys()
    save_file(tensors, "file", metadata={**metadata, "keys": '["item_id", "user_id"]'})
    with pytest.raises(
        WeightsError, match="file is damaged: its checksum does not match; delete it, and it is created"
    ):
        token_cache._CACHE.read(Path("file"))


def test_files_of_states_of_earlier_versions_are_read():
    states = torch.randn(4, 3).to(torch.bfloat16)
    metadata = {"format": "clickprompt-states-2", "sha256": sha256(raw(states))}
    save_file({"states": states}, "file", metadata=metadata)
    assert torch.equal(cached_states._CACHE.read(Path("file"))[1]["states"], states)


def test_pretraining_checkpoints_of_earlier_versions_are_read():
    weights = torch.randn(4, 3)
    metadata = {"format": "clickprompt-pretraining-2", "inputs": json.dumps({"settings": {}}), "epoch": "1"}
    parts = [f"{key} {metadata[key]}".encode() for key in sorted(metadata)]
    checksum = sha256(*parts, b"backbone.weight torch.float32 (4, 3)", raw(weights))
    save_file({"backbone.weight": weights}, "file", metadata={**metadata, "sha256": checksum})
    assert pretrained_checkpoint.read_inputs(Path("file")) == {"settings": {}}
    assert pretrained_checkpoint.read_checksum(Path("file")) == checksum

"""Files that are written whole or not at all, and read only if not a bit of them has changed."""

import errno
import os
import re
import resource
import signal
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recbole_clickprompt import files
from recbole_clickprompt.errors import StorageError, WeightsError
from recbole_clickprompt.files import write_whole
from recbole_clickprompt.trainer import pretrained_checkpoint
from recbole_clickprompt.trainer.checkpoint import (
    check_writable,
    load_weights,
    read_checkpoint,
    read_model,
    write_checkpoint,
)
from recbole_clickprompt.trainer.recbole_checkpoint import PlainCheckpoints

STATE = {"epoch": 3, "scores": (0.1, float("inf"), None), 7: {"weights": torch.arange(50.0)}}


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Linear(5, 5)


def same(ours, theirs):
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    return ours == theirs


def test_what_is_written_is_read():
    write_checkpoint(Path("folder/file"), STATE)
    state = read_checkpoint(Path("folder/file"), kind="a test")
    assert same(state, STATE)
    assert isinstance(state["scores"], tuple)
    assert os.listdir("folder") == ["file"]


def flipped(content):
    """A bit of every 5th byte in turn."""
    for at in range(0, len(content), 5):
        yield content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


def truncated(content):
    for size in range(0, len(content), max(1, len(content) // 40)):
        yield content[:size]


@pytest.mark.parametrize("spoil", [flipped, truncated])
def test_a_changed_checkpoint_is_refused_by_name(spoil):
    path = Path("file")
    write_checkpoint(path, STATE)
    refused = 0
    for content in spoil(path.read_bytes()):
        path.write_bytes(content)
        try:  # bits of the padding and of the archive's dates mean nothing
            assert same(read_checkpoint(path, kind="a test"), STATE)
        except WeightsError as error:
            refused += 1
            assert re.match("file (is (damaged|not)|.*expected a test)", str(error))  # noqa: PT017
    assert refused > (100 if spoil is flipped else 39)


@pytest.mark.parametrize("spoil", [flipped, truncated])
def test_a_changed_pretraining_is_refused_by_name(spoil):
    path, model, whole = Path("file.safetensors"), Small(), Small()
    pretrained_checkpoint.save_pretrained(model, path, inputs={"settings": {}}, epoch=1)
    refused = 0
    for content in spoil(path.read_bytes()):
        path.write_bytes(content)
        try:
            pretrained_checkpoint.load_pretrained(whole, path)
            assert same(dict(whole.state_dict()), dict(model.state_dict()))
        except WeightsError as error:
            refused += 1
            assert str(error).startswith("file.safetensors is ")  # noqa: PT017
    assert refused > 39


def test_a_flipped_weight_is_told_by_the_checksum():
    path, model = Path("file.safetensors"), Small()
    pretrained_checkpoint.save_pretrained(model, path, inputs={"settings": {}}, epoch=1)
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(WeightsError, match=r"file.safetensors is damaged: its checksum does not match; delete it"):
        pretrained_checkpoint.load_components(model, path, ["backbone"])


def test_a_flipped_weight_of_a_model_is_told_by_the_checksum():
    write_checkpoint(Path("file"), STATE)
    content = Path("file").read_bytes()
    at = content.index(torch.arange(50.0).numpy().tobytes())
    Path("file").write_bytes(content[:at] + b"\1" + content[at + 1 :])
    with pytest.raises(WeightsError, match=r"file is damaged, expected a test: its part \S*/data/0 has"):
        read_checkpoint(Path("file"), kind="a test")


def test_foreign_files_are_refused_by_name():
    Path("text.pth").write_text("hello")
    with pytest.raises(WeightsError, match="text.pth is a text file; expected a model saved by RecBole"):
        read_model(Path("text.pth"))
    torch.save({"a": 1}, "other.pth")
    with pytest.raises(WeightsError, match="other.pth is a file that torch wrote, but no checkpoint"):
        read_model(Path("other.pth"))
    torch.save([1], "list.pth")
    with pytest.raises(WeightsError, match="list.pth is a file that torch wrote, but no checkpoint"):
        read_model(Path("list.pth"))
    with pytest.raises(WeightsError, match="none.pth: no such file; expected a model saved by"):
        read_model(Path("none.pth"))


def fail_with(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_write_that_fails_leaves_what_was_there(monkeypatch, code, moment):
    write_checkpoint(Path("folder/file"), STATE)
    told = rf"folder/file cannot be written: {os.strerror(code)}; the existing file is unchanged"
    with monkeypatch.context() as patch:
        patch.setattr(files.os, moment, fail_with(code))
        with pytest.raises(StorageError, match=told):
            write_checkpoint(Path("folder/file"), {"epoch": 4})
    assert os.listdir("folder") == ["file"]
    assert same(read_checkpoint(Path("folder/file"), kind="a test"), STATE)


@pytest.mark.parametrize("write", [torch.save, save_file])
def test_a_disk_that_fills_up_is_told_by_what_the_system_says(write):
    tensors = {"weights": torch.zeros(100_000)}

    def through_a_stream(partial):
        with partial.open("wb") as stream:
            torch.save(tensors, stream)

    how = through_a_stream if write is torch.save else lambda partial: save_file(tensors, partial)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StorageError, match="folder/file cannot be written: .*File too large.*checkpoint_dir"):
            write_whole(Path("folder/file"), how)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert os.listdir("folder") == []


def test_an_interrupted_write_leaves_what_was_there(monkeypatch):
    write_checkpoint(Path("folder/file"), STATE)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(Path("folder/file"), {"epoch": 4})
    assert os.listdir("folder") == ["file"]
    assert same(read_checkpoint(Path("folder/file"), kind="a test"), STATE)


def test_what_killed_processes_had_begun_is_removed_and_what_others_write_is_not():
    dead = os.fork()
    if not dead:
        os._exit(0)
    os.waitpid(dead, 0)
    host = files.socket.gethostname()
    for name in (f"file.{host}-{dead}.partial", f"file.{host}-1.partial", f"file.elsewhere-{dead}.partial"):
        Path(name).touch()
    write_checkpoint(Path("file"), STATE)
    left = sorted(path.name for path in Path().glob("*.partial"))
    assert left == sorted([f"file.{host}-1.partial", f"file.elsewhere-{dead}.partial"])


def test_a_fault_of_ours_is_not_taken_for_one_of_the_disk():
    with pytest.raises(RuntimeError, match="a fault") as caught:
        write_whole(Path("file"), lambda partial: (_ for _ in ()).throw(RuntimeError("a fault")))
    assert not isinstance(caught.value, StorageError)


def test_a_folder_that_takes_no_files_is_told_at_once(monkeypatch):
    Path("file").touch()
    with pytest.raises(StorageError, match=r"file/.writable cannot be written: (File exists|Not a directory)"):
        check_writable(Path("file"))
    check_writable(Path("folder"))
    assert os.listdir("folder") == []


def test_values_that_grow_when_they_are_read_are_refused():
    laughs = [0] * 10
    for _ in range(9):
        laughs = [laughs] * 10
    endless = []
    endless.append(endless)
    repeated = torch.ones(1).expand(1_000_000)
    for value, fault in [(laughs, "10,000,000 values"), (endless, "50 levels"), (repeated, "fewer elements")]:
        torch.save({"config": {"x": value}, "state_dict": {}}, "grows.pth")
        with pytest.raises(WeightsError, match=f"grows.pth is not a model .*{fault}"):
            read_model(Path("grows.pth"))


def test_compressed_parts_are_refused_unread():
    torch.save({"config": {}, "state_dict": {"a": torch.zeros(1000)}}, "stored.pth")
    with (
        zipfile.ZipFile("stored.pth") as stored,
        zipfile.ZipFile("packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in stored.infolist():
            packed.writestr(part.filename, stored.read(part))
    with pytest.raises(WeightsError, match="packed.pth is not a model .*is compressed, which torch never writes"):
        read_model(Path("packed.pth"))


def archive_of(content):
    with zipfile.ZipFile("bomb.pth", "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/version", "3\n")


def doubled(times):
    """A tuple of two that are one tuple of two, and so on."""
    steps = b"".join(b"tq" + bytes([at]) + b"h" + bytes([at]) for at in range(times - 1))
    return b"(" * times + b"K\1K\2" + steps + b"t"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"}" + doubled(60) + b"K\1s", "a tuple of more than 1,000,000 values"),
        (b"}" + doubled(3) + b"K\1s", "a key of a dict in it is neither a string nor a number"),
        (b"ccollections\nOrderedDict\n]" + doubled(3) + b"K\1\x86a\x85R", "it calls collections.OrderedDict"),
        (
            b"ccollections\nOrderedDict\n)R]" + doubled(3) + b"K\1\x86ab",
            "the state of an object in it is not a dict",
        ),
        (b"cbuiltins\nbytearray\nK\1\x85R", "Unsupported global: builtins.bytearray"),
        (b"cbuiltins\nset\n]\x85R", "Unsupported global: builtins.set"),
        (b"ctorch\nFloatStorage\nK\1\x85R", "it calls torch.FloatStorage"),
        (b"ctorch\nFloatStorage\nK\1\x85\x81", "it calls torch.FloatStorage"),
        (b"h\1", "its pickle is malformed"),
    ],
)
def test_pickles_that_hang_or_fill_the_memory_are_refused_unread(value, fault, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch reads it"))
    archive_of(b"\x80\2}X\6\0\0\0config" + value + b"s.")
    with pytest.raises(WeightsError, match=f"bomb.pth is not a model .*{fault}"):
        read_model(Path("bomb.pth"))


def test_archives_whose_parts_are_more_than_the_file_are_refused_unread(monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("zipfile reads it"))
    with zipfile.ZipFile("bomb.pth", "w") as archive:
        archive.writestr("a/data.pkl", bytes(10_000))
        first = archive.filelist[0]
        for name, fault in [
            ("a/DATA.pkl", "two of its parts have the same name"),
            ("a/b", "larger than the file"),
        ]:
            other = zipfile.ZipInfo(name)
            for field in ("CRC", "file_size", "compress_size", "header_offset"):
                setattr(other, field, getattr(first, field))
            with zipfile.ZipFile(f"{fault[:3]}.pth", "w") as bomb:
                bomb.writestr("a/data.pkl", bytes(10_000))
                bomb.filelist.append(other)
                bomb._didModify = True
            with pytest.raises(WeightsError, match=f"{fault[:3]}.pth is not a model .*{fault}"):
                read_model(Path(f"{fault[:3]}.pth"))


def test_a_file_that_torch_takes_for_its_older_format_is_refused():
    write_checkpoint(Path("file"), STATE)
    Path("file").write_bytes(b"\x80\2}." + Path("file").read_bytes())
    with pytest.raises(WeightsError, match="file is not a test: it does not begin as an archive"):
        read_checkpoint(Path("file"), kind="a test")


@pytest.mark.parametrize(
    "inputs",
    ["no JSON", "[]", "null", "{}", '{"settings": []}', "[" * 100_000, '{"settings": {"pretrain_objectives": 1}}'],
)
def test_a_pretraining_of_wrong_inputs_is_refused_by_name(inputs):
    pretrained_checkpoint._CACHE.write(Path("file.safetensors"), {}, {"inputs": inputs, "epoch": "1"})
    with pytest.raises(
        WeightsError, match=r"file.safetensors: its inputs are not a JSON mapping .*delete the file"
    ):
        pretrained_checkpoint.read_inputs(Path("file.safetensors"))


@pytest.mark.parametrize(
    "weight", [torch.ones(5, 5, dtype=int), torch.ones(5, 5) * 1j, torch.ones(5, 5) * float("nan")]
)
def test_weights_that_would_be_cast_or_are_no_numbers_are_refused(weight):
    model = Small()
    model.other_parameter, model.load_other_parameter = dict, lambda _: None
    state = {"state_dict": {**model.state_dict(), "backbone.weight": weight}}
    with pytest.raises(
        WeightsError, match=r"file: its weight backbone.weight .* expected (torch.float32|numbers)"
    ):
        load_weights(model, state, Path("file"), fitting="this")


@pytest.mark.parametrize("wrong", [{"epoch": float("inf")}, {"epoch": 10**300}, {"best_valid_score": 10**400}])
def test_counts_that_cannot_be_are_refused(wrong):
    model = Small()
    model.other_parameter, model.load_other_parameter = dict, lambda _: None
    trainer = PlainCheckpoints()
    trainer.model, trainer.optimizer, trainer.device = model, torch.optim.SGD(model.parameters()), "cpu"
    trainer.config = {"model": "Small"}
    state = {"config": {"model": "Small"}, "state_dict": model.state_dict(), "epoch": 1, "cur_step": 0}
    state |= {"optimizer": trainer.optimizer.state_dict(), "best_valid_score": 0.5} | wrong
    torch.save(state, "file")
    with pytest.raises(WeightsError, match="^file"):
        trainer.resume_checkpoint("file")

"""What kind of file somebody has given as a checkpoint, from its content; nothing in it is executed."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.evaluation.run_info import INFO_FILE

__all__ = [
    "FINETUNED", "OTHER_TORCH", "PRETRAINED", "UNFINISHED", "WEIGHTS_ALONE", "FileKind", "kind_of",
    "refuse_other_kinds",
]  # fmt: skip


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        words: What it is.
        advice: What to do with it instead.
    """

    words: str
    advice: str


_GIVE = "give the .pth file that training wrote, or the folder next to it"
FINETUNED = FileKind(
    "the file of a finetuned model (.pth)",
    "give it to predict, serve, export or warm_start, or name the result of a stage (.safetensors) here",
)
PRETRAINED = FileKind(
    "the result of a stage before finetuning (.safetensors)",
    "use it as pre_model_path or warm_start, or " + _GIVE,
)
UNFINISHED = FileKind(
    "the state of an unfinished training run (.resume)",
    "finish that run with --resume=auto and its settings, then use the .pth file that it writes",
)
_RECBOLE = FileKind(
    "a checkpoint that RecBole's own trainer wrote",
    "train the model with this package (recbole-cp run --model=<backbone>)",
)
WEIGHTS_ALONE = FileKind(
    "a file of weights without settings, as torch.save(model.state_dict()) writes",
    "the settings of a run are needed too: " + _GIVE,
)
OTHER_TORCH = FileKind("a file that torch wrote, but no checkpoint of this package", _GIVE)
_PICKLE = FileKind("a pickle, or a file in torch's format before version 1.6, which is never loaded", _GIVE)
_ARCHIVE = FileKind("a zip archive that torch did not write", _GIVE)
_LANGUAGE_MODEL = FileKind(
    "a safetensors file of another program, such as the weights of a language model",
    "name the folder of a language model in plm or student, or " + _GIVE,
)
_CACHE = FileKind("a file that this package computes itself and keeps for later runs", _GIVE)
_ONNX = FileKind(
    "an exported ONNX model",
    "to score rows, give predict the folder that export wrote; to train, use the .pth file of the exported run",
)
_FOLDER = FileKind("a folder without a run", _GIVE)
_RUN_FOLDER = FileKind("a run folder", "give the .pth file next to it")
_TEXT = FileKind("a text file", _GIVE)
_EMPTY = FileKind("an empty file", _GIVE)
_UNKNOWN = FileKind("no file of torch or safetensors", _GIVE)

_MOST_READ = 64_000_000  # bytes of a pickle without its tensors
_PRETRAINING_FORMAT = "clickprompt-pretraining-"


def kind_of(path: Path) -> FileKind:
    """The kind of a file or folder, by its beginning; a damaged file has the kind that its beginning shows.

    Raises:
        WeightsError: There is no such file.
    """
    if path.is_dir():
        if any(path.glob("*.onnx")):
            return _ONNX
        return _RUN_FOLDER if (path / INFO_FILE).is_file() else _FOLDER
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {_GIVE}")
    with path.open("rb") as stream:
        start = stream.read(4096)
    if not start:
        return _EMPTY
    if start.startswith(b"PK\3\4"):
        return _kind_of_archive(path)
    if start.startswith((b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")):
        return _PICKLE
    if start[8:9] == b"{":
        return _kind_of_safetensors(path, start)
    if path.suffix == ".onnx" or (start[:1] == b"\x08" and b"onnx" in start.lower()):
        return _ONNX
    return _TEXT if _is_text(start) else _UNKNOWN


def refuse_other_kinds(path: Path, *kinds: FileKind, expected: str) -> None:
    """Checks that a file is what it is read as.

    Args:
        path: The file.
        kinds: Those that pass; a file that is damaged has a kind too.
        expected: In words, what is read.

    Raises:
        WeightsError: It is of another kind: says of which, what was expected and what to do.
    """
    kind = kind_of(path)
    if kind not in kinds:
        raise WeightsError(f"{path} is {kind.words}; expected {expected}; {kind.advice}")


def _kind_of_archive(path: Path) -> FileKind:
    """By the keys of the outermost dict, which are texts in the pickle of a torch file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickle = next((name for name in names if name.endswith("data.pkl")), None)
            if pickle is None:
                return _ARCHIVE
            with archive.open(pickle) as stream:
                content = stream.read(_MOST_READ)
    except Exception:  # zipfile raises errors of many types; a truncated file is what its name says
        return UNFINISHED if path.suffix == ".resume" else FINETUNED
    if b"clickprompt-resume-" in content:
        return UNFINISHED
    if content.startswith(b"\x80\4") and b"recbole.config" in content:
        return _RECBOLE
    if b"state_dict" in content and b"config" in content:
        return FINETUNED
    return WEIGHTS_ALONE if b"_rebuild_tensor" in content or b"_rebuild_parameter" in content else OTHER_TORCH


def _kind_of_safetensors(path: Path, start: bytes) -> FileKind:
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("format", "")
    except (SafetensorError, OSError):  # damaged: by the name of its format, which is in the header
        with path.open("rb") as stream:
            header = stream.read(min(8 + int.from_bytes(start[:8], "little"), _MOST_READ))
        return PRETRAINED if _PRETRAINING_FORMAT.encode() in header else _LANGUAGE_MODEL
    if found.startswith(_PRETRAINING_FORMAT):
        return PRETRAINED
    return _LANGUAGE_MODEL if found in ("", "pt", "tf", "flax", "np", "mlx") else _CACHE


def _is_text(start: bytes) -> bool:
    if b"\0" in start:
        return False
    try:
        start[: max(1, len(start) - 3)].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True

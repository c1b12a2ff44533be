"""The tokens of many texts, made once and kept in a file that runs with equal texts share."""

from __future__ import annotations

import hashlib
import json
from logging import getLogger
from pathlib import Path
from typing import Any

import tokenizers
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from recbole_clickprompt import distributed as ranks
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.files import write_whole
from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokens import Segment, tokenise

__all__ = ["segments_of"]

_FORMAT = "clickprompt-tokens-1"
_KEPT_FROM = 100_000  # texts; fewer take a few seconds


def segments_of(textualizer: Textualizer, tokenizer: Any, folder: Path) -> list[Segment]:
    """As ``tokenise``; of many texts out of a file that equal calls share, made where it is missing.

    Args:
        textualizer: Text of the rows.
        tokenizer: A Hugging Face tokenizer.
        folder: Where the file is, or will be.

    Raises:
        WeightsError: The file is not as it was written.
        StorageError: It cannot be written.
    """
    if sum(len(field.parts) for field in textualizer.fields) < _KEPT_FROM:
        return tokenise(textualizer, tokenizer)
    path = folder / f"tokens-{_key(textualizer, tokenizer)}.safetensors"

    def prepare() -> None:
        if not path.is_file():
            _write(path, tokenise(textualizer, tokenizer))
            getLogger().info(f"tokens of texts saved: {path}")

    ranks.current().in_turn(prepare)
    return _read(path)


def _key(textualizer: Textualizer, tokenizer: Any) -> str:
    # Another version of the library may break text elsewhere
    digest = hashlib.sha256(json.dumps([_FORMAT, tokenizers.__version__]).encode())
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for passing in ("truncation", "padding"):  # as the last call left them
        backend.pop(passing, None)
    digest.update(json.dumps(backend, sort_keys=True).encode())
    for field in textualizer.fields:
        digest.update(json.dumps([field.name, field.key, len(field.parts)]).encode())
        for part in field.parts:
            digest.update(part.encode())
            digest.update(b"\0")
        digest.update(field.codes.tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, segments: list[Segment]) -> None:
    tensors = {
        f"{name}_{index}": array
        for index, (_, *arrays) in enumerate(segments)
        for name, array in zip(("tokens", "fields", "offsets"), arrays, strict=True)
    }
    keys = json.dumps([segment.key for segment in segments])
    metadata = {"format": _FORMAT, "keys": keys, "sha256": _sum(segments)}
    write_whole(path, lambda partial: save_file(tensors, partial, metadata=metadata))


def _read(path: Path) -> list[Segment]:
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            segments = [
                Segment(key, *(file.get_tensor(f"{name}_{index}") for name in ("tokens", "fields", "offsets")))
                for index, key in enumerate(json.loads(metadata["keys"]))
            ]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: {error}; delete it, and it is made again") from error
    if metadata.get("sha256") != _sum(segments):
        raise WeightsError(f"{path} is damaged: its checksum does not fit; delete it, and it is made again")
    return segments


def _sum(segments: list[Segment]) -> str:
    digest = hashlib.sha256()
    for key, *arrays in segments:
        digest.update(key.encode())
        for array in arrays:
            digest.update(array.tobytes())
    return digest.hexdigest()

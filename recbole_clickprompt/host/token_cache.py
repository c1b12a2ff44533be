"""Caches the tokens of large sets of texts in a file that runs with equal texts share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tokenizers
import torch
from torch import Tensor

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.tensor_cache import TensorCache
from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokens import Segment, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["load_or_tokenize"]

_CACHED_FROM = 100_000  # texts; fewer are tokenized in a few seconds
_ARRAYS = ("tokens", "fields", "offsets")  # the arrays of a segment


def _hashed(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Iterator[bytes | Tensor]:
    for index, key in enumerate(json.loads(metadata["keys"])):
        yield key.encode()
        yield from (tensors[f"{name}_{index}"] for name in _ARRAYS)


_CACHE = TensorCache("clickprompt-tokens-1", "file of tokens", "delete it, and it is created again", _hashed)


def load_or_tokenize(textualizer: Textualizer, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[Segment]:
    """Like ``tokenize``, but the tokens of 100,000 or more texts are cached in a file.

    Args:
        textualizer: Text of the rows.
        tokenizer: Tokenizer of the PLM.
        folder: Folder of the cache file.

    Raises:
        WeightsError: The file is damaged.
        StorageError: The file cannot be written.
    """
    if sum(len(field.parts) for field in textualizer.fields) < _CACHED_FROM:
        return tokenize(textualizer, tokenizer)
    path = folder / f"tokens-{_key(textualizer, tokenizer)}.safetensors"
    metadata, tensors = _CACHE.read_or_write(path, lambda: _write(path, tokenize(textualizer, tokenizer)))
    segments = _segments(metadata, tensors, textualizer, len(tokenizer))
    if segments is None:
        raise WeightsError(f"{path} is damaged: it does not hold the tokens of this text; {_CACHE.recovery}")
    return segments


def _segments(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor], textualizer: Textualizer, vocabulary: int
) -> list[Segment] | None:
    """What the file holds; None where it is not the tokens of this text."""
    expected = [
        (key, len(next(group).codes)) for key, group in groupby(textualizer.fields, key=lambda field: field.key)
    ]
    if json.loads(metadata["keys"]) != [key for key, _ in expected]:
        return None
    segments = []
    for index, (key, ids) in enumerate(expected):
        tokens, fields, offsets = (tensors[f"{name}_{index}"].numpy() for name in _ARRAYS)
        types = (tokens.dtype, fields.dtype, offsets.dtype)
        if types != (np.int32, np.uint8, np.int64) or offsets.shape != (ids + 1,):
            return None
        whole = tokens.ndim == 1 and fields.shape == tokens.shape
        if not whole or offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
            return None
        if ((tokens < 0) | (tokens >= vocabulary)).any() or (fields > len(textualizer.fields)).any():
            return None
        segments.append(Segment(key, tokens, fields, offsets))
    return segments


def _key(textualizer: Textualizer, tokenizer: PreTrainedTokenizerBase) -> str:
    # Another version of the library may split text differently
    digest = hashlib.sha256(json.dumps([_CACHE.format, tokenizers.__version__]).encode())
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("truncation", "padding"):  # left over from the last call
        backend.pop(state, None)
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
        f"{name}_{index}": torch.from_numpy(array)
        for index, (_, *arrays) in enumerate(segments)
        for name, array in zip(_ARRAYS, arrays, strict=True)
    }
    _CACHE.write(path, tensors, {"keys": json.dumps([segment.key for segment in segments])})

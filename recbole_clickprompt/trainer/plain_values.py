"""Restricts checkpoints to plain values and tensors, so that loading one executes no code from it.

Earlier versions stored RecBole's ``Config`` object itself. torch's safe unpickler calls the constructors of
allowed classes, and that of ``Config`` evaluates strings as code. The few classes that occur in such files are
therefore loaded as records, which only keep the stored attributes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

__all__ = ["RECORD_NAMES", "SavedConfig", "check_plain", "records_only", "to_plain"]

_SCALARS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_MOST_VALUES = 10_000_000  # the state of a large model has a few thousand besides its tensors
_DEEPEST = 50  # levels of nested containers
_reading = threading.Lock()


class Record:
    """Replaces a class named in a file. Constructor arguments are ignored; the state becomes attributes."""

    def __init__(self, *_: object) -> None:
        pass


class SavedConfig(Record):
    """RecBole's ``Config`` in a checkpoint of an earlier version; its settings are in ``final_config_dict``."""


# All classes in files of earlier versions. Derived settings (the enumerations) are computed again.
_RECORDS: list[Any] = [
    (SavedConfig, "recbole.config.configurator.Config"),
    (type("ModelType", (Record,), {}), "recbole.utils.enum_type.ModelType"),
    (type("InputType", (Record,), {}), "recbole.utils.enum_type.InputType"),
    (type("EvaluatorType", (Record,), {}), "recbole.utils.enum_type.EvaluatorType"),
    (type("FullLoader", (Record,), {}), "yaml.loader.FullLoader"),
]
RECORD_NAMES = tuple(name for _, name in _RECORDS)


@contextmanager
def records_only() -> Iterator[None]:
    """A context in which ``torch.load(weights_only=True)`` loads RecBole's objects as records."""
    # torch's allowlist is global to the process, so threads load one after the other
    with _reading, safe_globals(_RECORDS):
        yield


def check_plain(value: object) -> str | None:
    """Checks that a value consists of plain values and tensors whose storage contains all their elements.

    Returns:
        A description of the fault, or None.
    """
    try:
        _count(value, {}, depth=0)
    except ValueError as error:
        return str(error)
    return None


def _count(value: object, sizes: dict[int, int], *, depth: int) -> int:
    """Counts nested values, shared ones each time they occur; raises ValueError with the fault."""
    if isinstance(value, Tensor):
        _check_tensor(value)
        return 1
    if type(value) in _SCALARS:
        return 1
    if not isinstance(value, dict | list | tuple | set | frozenset):
        raise ValueError(f"it contains an object of the class {type(value).__name__.removeprefix('Saved')}")
    if id(value) in sizes:
        # A container that contains itself is not in sizes yet; it exceeds the depth limit
        return sizes[id(value)]
    if depth == _DEEPEST:
        raise ValueError(f"its values are nested more than {_DEEPEST} levels deep")
    inner: Iterable[object] = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    size = 1
    for part in inner:
        size += _count(part, sizes, depth=depth + 1)
        if size > _MOST_VALUES:
            raise ValueError(f"it contains more than {_MOST_VALUES:,} values besides tensors")
    sizes[id(value)] = size
    return size


def _check_tensor(tensor: Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        raise ValueError("it contains a tensor that is not dense")
    # An expanded view is small in the file but may be of any size in memory
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"it contains a tensor of shape {tuple(tensor.shape)} with fewer elements stored")


def to_plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Converts settings for a file: NumPy scalars become Python numbers, and other objects strings."""
    return {key: _plain(value) for key, value in settings.items()}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key if type(key) in _SCALARS else str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return str(value)
    return value if value is None or type(value) in (bool, int, float, str) else str(value)

"""What a checkpoint may hold: plain values and tensors, and nothing that computes when it is read.

Earlier versions stored RecBole's ``Config`` object itself. torch's safe unpickler calls the classes that it is
allowed, and the constructor of ``Config`` evaluates text as code. So the few names in such files are read as
records, which keep what was stored and do nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

__all__ = ["RECORD_NAMES", "SavedConfig", "check_plain", "records_only", "to_plain"]

_SCALARS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_MOST_VALUES = 10_000_000  # a state of a large model has some thousand, without its tensors
_DEEPEST = 50  # containers inside one another
_reading = threading.Lock()


class Record:
    """Takes the place of a class named in a file. Its arguments are ignored, its state becomes its attributes."""

    def __init__(self, *_: Any) -> None:
        pass


class SavedConfig(Record):
    """RecBole's ``Config`` in a checkpoint of an earlier version; ``final_config_dict`` holds its settings."""


# All names in the files of earlier versions. Derived settings (the enumerations) are derived again.
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
    """Within, ``torch.load(weights_only=True)`` reads RecBole's objects as records."""
    # torch keeps the names that it allows for the whole process: readers in other threads wait for their turn
    with _reading, safe_globals(_RECORDS):
        yield


def check_plain(value: Any) -> str | None:
    """Whether a value consists of plain values and tensors that own all their elements.

    Returns:
        What is wrong, in words; None where nothing is.
    """
    try:
        _count(value, {}, depth=0)
    except ValueError as error:
        return str(error)
    return None


def _count(value: Any, sizes: dict[int, int], *, depth: int) -> int:
    """The number of values inside, shared ones counted wherever they appear; raises ValueError with the fault."""
    if isinstance(value, Tensor):
        _check_tensor(value)
        return 1
    if type(value) in _SCALARS:
        return 1
    if not isinstance(value, dict | list | tuple | set | frozenset):
        raise ValueError(f"it holds an object of the class {type(value).__name__.removeprefix('Saved')}")
    if id(value) in sizes:
        # A container that is still being counted contains itself, which its depth shows
        return sizes[id(value)]
    if depth == _DEEPEST:
        raise ValueError(f"its values are nested more than {_DEEPEST} levels deep")
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    size = 1
    for part in inner:
        size += _count(part, sizes, depth=depth + 1)
        if size > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values besides tensors")
    sizes[id(value)] = size
    return size


def _check_tensor(tensor: Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        raise ValueError("it holds a tensor that is not dense")
    # A view that repeats its elements is small in the file and may be of any size in memory
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"it holds a tensor of shape {tuple(tensor.shape)} with fewer elements than that")


def to_plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they go into a file: numpy's numbers become Python's, and objects their text."""
    return {key: _plain(value) for key, value in settings.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key if type(key) in _SCALARS else str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return str(value)
    return value if value is None or type(value) in (bool, int, float, str) else str(value)

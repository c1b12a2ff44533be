"""Pretraining checkpoints: safetensors, by part, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from recbole_clickprompt import ranks
from recbole_clickprompt.errors import WeightsError

__all__ = ["load_parts", "load_whole", "read_inputs", "save_whole"]

_FORMAT = "clickprompt-pretraining-1"


def save_whole(model: nn.Module, path: Path, *, inputs: dict[str, Any], epoch: int) -> None:
    """Writes all weights of a pretraining model, a tied one once, with the inputs that determined them.

    Rank 0 writes; all return when the file is there.
    """
    if ranks.current().main:
        _write(model, path, inputs=inputs, epoch=epoch)
    ranks.current().wait()


def _write(model: nn.Module, path: Path, *, inputs: dict[str, Any], epoch: int) -> None:
    tensors: dict[str, torch.Tensor] = {}
    written = set()
    for name, tensor in model.state_dict().items():
        if _place(tensor) not in written:
            written.add(_place(tensor))
            tensors[name] = tensor.contiguous().cpu()
    metadata = {"format": _FORMAT, "inputs": json.dumps(inputs, sort_keys=True), "epoch": str(epoch)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata=metadata)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_inputs(path: Path) -> dict[str, Any]:
    """What determined a checkpoint.

    Raises:
        WeightsError: It is missing, damaged or no checkpoint of ours.
    """
    return json.loads(_open(path).metadata()["inputs"])


def load_parts(model: nn.Module, path: Path, parts: Iterable[str]) -> None:
    """Copies named parts of a checkpoint, such as ``backbone``, into the modules of that name, strictly.

    Raises:
        WeightsError: As for ``read_inputs``, or the weights do not fit the model.
    """
    file = _open(path)
    for part in parts:
        state = {
            name.removeprefix(f"{part}."): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118 - safe_open is no mapping
            if name.startswith(f"{part}.")
        }
        try:
            model.get_submodule(part).load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise WeightsError(
                f"{path}: its {part} does not fit this run's, so it was pretrained with other settings: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error


def load_whole(model: nn.Module, path: Path) -> None:
    """Copies a checkpoint into the pretraining model that wrote it."""
    file = _open(path)
    state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    own = model.state_dict()
    written = {_place(own[name]) for name in state if name in own}
    missing = [name for name, tensor in own.items() if name not in state and _place(tensor) not in written]
    foreign = [name for name in state if name not in own or state[name].shape != own[name].shape]
    if missing or foreign:
        raise WeightsError(f"{path} does not fit this run: {', '.join([*missing, *foreign][:3])} differ")
    model.load_state_dict(state, strict=False)


def _place(tensor: torch.Tensor) -> tuple[int, torch.Size]:
    # Equal for tied weights, which are one tensor under two names
    return tensor.data_ptr(), tensor.shape


def _open(path: Path) -> Any:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such pretraining checkpoint; check pre_model_path")
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is damaged or no safetensors file ({error}); delete it and pretrain again"
        ) from error
    if (file.metadata() or {}).get("format") != _FORMAT:
        raise WeightsError(f"{path} is no pretraining checkpoint of ClickPrompt ({_FORMAT})")
    return file

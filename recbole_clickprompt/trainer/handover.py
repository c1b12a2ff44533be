"""Pretraining checkpoints: safetensors, by part, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from recbole_clickprompt import ranks
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.files import write_whole

__all__ = ["load_parts", "load_whole", "read_inputs", "read_sum", "save_whole"]

_FORMAT = "clickprompt-pretraining-2"


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
    metadata["sha256"] = _sum(metadata, tensors)
    write_whole(path, lambda partial: save_file(tensors, partial, metadata=metadata))


def read_inputs(path: Path) -> dict[str, Any]:
    """What determined a checkpoint.

    Raises:
        WeightsError: It is missing, damaged or no checkpoint of ours.
    """
    metadata, _ = _read(path)
    try:
        inputs = json.loads(metadata["inputs"])
        settings = inputs["settings"]
        fits = isinstance(settings, dict) and isinstance(settings.get("pretrain_objectives", []), list)
    except (KeyError, TypeError, ValueError, RecursionError):
        fits = False
    if not fits:
        raise WeightsError(
            f"{path}: its inputs must be a JSON mapping with the settings of the pretraining, and are not; delete "
            "it and pretrain again"
        )
    return inputs


def read_sum(path: Path) -> str:
    """The checksum over all that a checkpoint holds; raises as ``read_inputs``."""
    metadata, _ = _read(path)
    return metadata["sha256"]


def load_parts(model: nn.Module, path: Path, parts: Iterable[str], *, embeddings_of: Collection[str] = ()) -> None:
    """Copies named parts of a checkpoint, such as ``backbone``, into the modules of that name, strictly.

    Args:
        model: Has the parts.
        path: The checkpoint.
        parts: Their names.
        embeddings_of: Those of which the embedding tables alone are copied; the rest of them stays as it is.

    Raises:
        WeightsError: As for ``read_inputs``, or the weights do not fit the model.
    """
    _, tensors = _read(path)
    for part in parts:
        module = model.get_submodule(part)
        state = {
            name.removeprefix(f"{part}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{part}.")
        }
        if part in embeddings_of:
            tables = _tables(module)
            rest = {name: tensor for name, tensor in module.state_dict().items() if name not in tables}
            state = rest | {name: tensor for name, tensor in state.items() if name in tables}
        try:
            module.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise WeightsError(
                f"{path}: its {part} does not fit this run's, so it was pretrained with other settings: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error


def _tables(module: nn.Module) -> set[str]:
    """Names of the weights that are embedding tables."""
    return {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}


def load_whole(model: nn.Module, path: Path) -> None:
    """Copies a checkpoint into the pretraining model that wrote it."""
    _, state = _read(path)
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


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such pretraining checkpoint; check pre_model_path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            ours = metadata.get("format") == _FORMAT
            tensors = {name: file.get_tensor(name) for name in file.keys()} if ours else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is damaged or no safetensors file ({error}); delete it and pretrain again"
        ) from error
    if not ours:
        raise WeightsError(
            f"{path} is no pretraining checkpoint of ClickPrompt ({_FORMAT}), but "
            f"{metadata.get('format', 'foreign')}; delete it and pretrain again"
        )
    if metadata.get("sha256") != _sum(metadata, tensors):
        raise WeightsError(f"{path} is damaged: its checksum does not fit; delete it and pretrain again")
    return metadata, tensors


def _sum(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(metadata.keys() - {"sha256"}):
        digest.update(f"{key} {metadata[key]}".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

"""Pretraining checkpoints: safetensors files, written atomically and loaded component by component."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.tensor_cache import TensorCache
from recbole_clickprompt.trainer.checkpoint import check_numbers
from recbole_clickprompt.trainer.file_kinds import PRETRAINED, refuse_other_kinds
from recbole_clickprompt.trainer.tied_weights import storage, tied, without_ties

if TYPE_CHECKING:
    from recbole_clickprompt.trainer.protocols import Module

__all__ = [
    "has_encoding", "load_components", "load_pretrained", "read_checksum", "read_inputs", "read_stage",
    "save_pretrained",
]  # fmt: skip

_CACHE = TensorCache(
    "clickprompt-pretraining-2", "pretraining checkpoint of ClickPrompt", "delete it and pretrain again"
)


_ENCODING = "encoding:"  # begins the names of tensors that are no weights, and of their header


def save_pretrained(
    model: Module,
    path: Path,
    *,
    inputs: dict[str, Any],
    epoch: int,
    stage: str = "",
    encoding: Encoding | None = None,
) -> None:
    """Writes all weights of a pretraining model (tied ones once) and the inputs that determined them.

    Rank 0 writes; all ranks return when the file exists.

    Args:
        model: The pretraining model.
        path: The file.
        inputs: The result of ``fingerprint.stage_inputs``.
        epoch: Number of trained epochs.
        stage: Name of the stage.
        encoding: Of the data set, if weights belong to its ids.
    """
    if distributed.current().is_main:
        metadata = {"inputs": json.dumps(inputs, sort_keys=True), "epoch": str(epoch), "stage": stage}
        extra: dict[str, torch.Tensor] = {}
        if encoding is not None:
            metadata[_ENCODING], packed = encoding.pack()
            extra = {f"{_ENCODING}{name}": tensor for name, tensor in packed.items()}
        _CACHE.write(path, without_ties(model.state_dict()) | extra, metadata)
    distributed.current().barrier()


def read_inputs(path: Path) -> dict[str, Any]:
    """The inputs that determined a checkpoint; see ``fingerprint.stage_inputs``.

    Raises:
        WeightsError: It is missing, damaged or not a pretraining checkpoint.
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
            f"{path}: its inputs are not a JSON mapping with the settings of pretraining; delete the file and "
            "pretrain again"
        )
    return inputs


def read_stage(path: Path) -> tuple[str, dict[str, torch.Tensor], Encoding | None]:
    """The stage that wrote a checkpoint (empty before version 1.0), its weights, and the encoding of its data set.

    Raises:
        WeightsError: As for ``read_inputs``.
    """
    metadata, tensors = _CACHE.read(path)
    return metadata.get("stage", ""), _weights(tensors), _encoding(metadata, tensors)


def has_encoding(path: Path, encoding: Encoding) -> bool:
    """Whether the ids of a checkpoint stand for these values, as far as it says; raises WeightsError."""
    found = _encoding(*_CACHE.read(path))
    return found is None or found.digest() == encoding.digest()


def _encoding(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> Encoding | None:
    packed = {name.removeprefix(_ENCODING): t for name, t in tensors.items() if name.startswith(_ENCODING)}
    return Encoding.unpack(metadata[_ENCODING], packed) if _ENCODING in metadata else None


def _weights(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_ENCODING)}


def read_checksum(path: Path) -> str:
    """The checksum of a checkpoint's content; raises the errors of ``read_inputs``."""
    metadata, _ = _read(path)
    return metadata["sha256"]


def load_components(
    model: nn.Module, path: Path, parts: Iterable[str], *, embeddings_of: Collection[str] = ()
) -> None:
    """Strictly loads components of a checkpoint, such as ``backbone``, into the modules of the same name.

    Args:
        model: The model with these modules.
        path: The checkpoint.
        parts: Names of the modules.
        embeddings_of: Those for which only embedding tables are copied; their other weights are unchanged.

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
        state |= tied(module, state)
        check_numbers(module.state_dict(), state, path)
        try:
            module.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise WeightsError(
                f"{path}: its {part} does not fit this run, so it was pretrained with other settings: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error


def _tables(module: nn.Module) -> set[str]:
    """Names of the weights that are embedding tables."""
    return {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}


def load_pretrained(model: Module, path: Path) -> None:
    """Loads a checkpoint into a pretraining model of the same structure.

    Raises:
        WeightsError: As for ``read_inputs``, or weights are missing, unknown or of another shape.
    """
    _, state = _read(path)
    expected = model.state_dict()
    written = {storage(expected[name]) for name in state if name in expected}
    missing = [name for name, tensor in expected.items() if name not in state and storage(tensor) not in written]
    foreign = [name for name in state if name not in expected or state[name].shape != expected[name].shape]
    if missing or foreign:
        raise WeightsError(f"{path} does not fit this run: {', '.join([*missing, *foreign][:3])} differ")
    check_numbers(expected, state, path)
    # Only tied weights, which are loaded under another name, are missing from the file
    model.load_state_dict(state, strict=False)


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if not path.exists():
        raise WeightsError(f"{path}: no such pretraining checkpoint; check pre_model_path")
    refuse_other_kinds(path, PRETRAINED, expected=PRETRAINED.words)
    metadata, tensors = _CACHE.read(path)
    return metadata, _weights(tensors)

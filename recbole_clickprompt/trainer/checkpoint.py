"""Checkpoint files of tensors and plain values: written atomically, checked before they are loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.files import discard_tables, load_tables, remove_tables, write_tables
from recbole_clickprompt.errors import StorageError, WeightsError
from recbole_clickprompt.files import write_whole
from recbole_clickprompt.trainer.file_kinds import (
    FINETUNED,
    OTHER_TORCH,
    UNFINISHED,
    WEIGHTS_ALONE,
    refuse_other_kinds,
)
from recbole_clickprompt.trainer.pickle_scan import scan
from recbole_clickprompt.trainer.plain_values import RECORD_NAMES, SavedConfig, check_plain, records_only, to_plain

if TYPE_CHECKING:
    from recbole.model.abstract_recommender import AbstractRecommender
    from recbole.trainer import Trainer

    from recbole_clickprompt.trainer.protocols import Module

__all__ = [
    "check_numbers",
    "check_writable",
    "load_weights",
    "read_checkpoint",
    "read_model",
    "save_model",
    "write_checkpoint",
    "write_with_tables",
]

# Settings that are derived from others and from the machine
_DERIVED = {"MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device"}
_LARGEST_PICKLE = 64_000_000  # bytes, without the tensors; large models need about one million
_RECOVER = "restore it from a copy, or delete it and start without it"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes nested dicts and lists of plain values and tensors; raises the errors of ``write_whole``."""

    def write(partial: Path) -> None:
        # Given a path, torch would hide the error of the operating system. torch's safe reader rejects pickle
        # protocol 4, which RecBole uses, and accepts the default.
        with partial.open("wb") as stream:
            torch.save(state, stream)

    write_whole(path, write)


def read_checkpoint(path: Path, *, kind: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads a file of ``write_checkpoint`` after checking every byte; no code in it is executed.

    Args:
        path: The file.
        kind: The expected kind of file, for error messages.
        device: Device of the tensors.

    Raises:
        WeightsError: It is missing, truncated or modified, or contains anything but plain values and tensors.
    """
    return _checked(_load(path, kind, device), path, kind)


def read_model(path: Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads the file of a finetuned model, with RecBole's keys such as ``config`` and ``state_dict``.

    Args:
        path: The file.
        device: Device of the tensors.

    Returns:
        The content; ``config`` is a dict of unchecked settings, from which ``host.saved_config`` makes a
        ``Config``.

    Raises:
        WeightsError: As for ``read_checkpoint``, or the file is not a model.
    """
    kind = "a model saved by RecBole or ClickPrompt"
    state = _load(path, kind, device)
    config = state.get("config")
    if isinstance(config, SavedConfig):  # written by an earlier version
        config = vars(config).get("final_config_dict")
        if isinstance(config, dict):
            config = {key: value for key, value in config.items() if key not in _DERIVED}
        state["config"] = config
    _checked(state, path, kind)
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        refuse_other_kinds(path, FINETUNED, expected=kind)
        raise WeightsError(f"{path} is not {kind}: it has no config")
    weights = state.get("state_dict")
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(weight, torch.Tensor) for name, weight in weights.items()
    ):
        raise WeightsError(f"{path} is not {kind}: it has no state_dict of named weights")
    return state


def _load(path: Path, kind: str, device: torch.device | str) -> dict[str, Any]:
    if not path.exists():
        raise WeightsError(f"{path}: no such file; expected {kind}")
    if path.is_dir():
        refuse_other_kinds(path, expected=kind)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
            fault = _fault_of_parts(path, parts)
            # torch writes checksums but never verifies them
            damaged = None if packed or fault else archive.testzip()
    except Exception as error:  # zipfile raises errors of many types for damaged files
        refuse_other_kinds(path, FINETUNED, UNFINISHED, expected=kind)
        raise WeightsError(f"{path} is damaged or foreign, expected {kind}: {error}; {_RECOVER}") from error
    if packed:
        raise WeightsError(f"{path} is not {kind}: its part {packed[0]} is compressed, which torch never writes")
    if fault:
        raise WeightsError(f"{path} is not {kind}: {fault}, which torch never writes; {_RECOVER}")
    if damaged is not None:
        raise WeightsError(f"{path} is damaged, expected {kind}: its part {damaged} has changed; {_RECOVER}")
    try:
        # Scan the bytes that torch will read: a crafted file can make zipfile find different ones
        scan(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl"), RECORD_NAMES)
        with records_only():
            state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        refuse_other_kinds(path, FINETUNED, UNFINISHED, OTHER_TORCH, WEIGHTS_ALONE, expected=kind)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"{path} is not {kind}: it contains more than tensors and plain values, none of which was executed "
            f"({reason})"
        ) from error
    if not isinstance(state, dict):
        refuse_other_kinds(path, FINETUNED, UNFINISHED, expected=kind)
        raise WeightsError(f"{path} is not {kind}: it contains a {type(state).__name__}")
    return state


def _fault_of_parts(path: Path, parts: list[zipfile.ZipInfo]) -> str | None:
    """Describes a fault by which an archive expands beyond its size or is read ambiguously, if it has one."""
    with path.open("rb") as stream:
        if stream.read(4) != b"PK\3\4":  # torch would read the file in its older format
            return "it does not begin as an archive"
    if len({part.filename.lower() for part in parts}) < len(parts):  # torch ignores case
        return "two of its parts have the same name"
    if sum(part.file_size for part in parts) > path.stat().st_size:
        return "its parts are larger than the file"
    pickles = [part.file_size for part in parts if part.filename.lower().endswith("data.pkl")]
    if any(size > _LARGEST_PICKLE for size in pickles):
        return f"its data.pkl has more than {_LARGEST_PICKLE:,} bytes"
    return None


def _checked(state: dict[str, Any], path: Path, kind: str) -> dict[str, Any]:
    if fault := check_plain(state):
        raise WeightsError(f"{path} is not {kind}: {fault}, where plain values and tensors are expected")
    return state


def save_model(trainer: Trainer, epoch: int, verbose: bool = True, saved_model_file: str | None = None) -> None:
    """Atomically writes a checkpoint with RecBole's keys that contains only plain values and tensors.

    Args:
        trainer: The trainer whose model is saved.
        epoch: The number of the epoch, from 0.
        verbose: Whether to log the path.
        saved_model_file: The path; None for that of the trainer.
    """
    path = saved_model_file or trainer.saved_model_file
    settings = {key: value for key, value in trainer.config.final_config_dict.items() if key not in _DERIVED}
    state = {
        "config": to_plain(settings),
        "epoch": epoch,
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "state_dict": trainer.model.state_dict(),
        "other_parameter": trainer.model.other_parameter(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    if trainer.encoding is not None:
        state["encoding"] = trainer.encoding.pack()
    write_with_tables(Path(path), state, trainer.model)
    distributed.current().barrier()
    if verbose:
        trainer.logger.info(f"Saving current: {path}")


def write_with_tables(path: Path, state: dict[str, Any], model: Module) -> None:
    """Writes a checkpoint and, in files of their own, the model's sharded tables; all processes call it.

    Args:
        path: The checkpoint.
        state: Everything but the sharded tables.
        model: The model.

    Raises:
        StorageError: A file cannot be written; the previous checkpoint is unchanged.
    """
    tables = write_tables(path, model)
    if distributed.current().is_main:
        try:
            write_checkpoint(path, {**state, "tables": tables} if tables else state)
        except StorageError:
            discard_tables(path, tables)
            raise
        if tables:
            remove_tables(path, keep=tables)


def load_weights(model: AbstractRecommender, checkpoint: dict[str, Any], path: Path, *, fitting: str) -> None:
    """Copies the weights of a model file into a model.

    Args:
        model: The model.
        checkpoint: The result of ``read_model``.
        path: The file, for error messages.
        fitting: What the weights must fit, for error messages.

    Raises:
        WeightsError: The weights do not fit.
    """
    expected, other = model.other_parameter(), checkpoint.get("other_parameter") or {}
    if not isinstance(other, dict) or other.keys() - expected.keys():
        # RecBole would set attributes of any name
        raise WeightsError(
            f"{path} does not fit {fitting}: its other_parameter must contain {sorted(expected) or 'nothing'}"
        )
    try:
        check_numbers(model.state_dict(), checkpoint["state_dict"], path)
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit {fitting}: {' '.join(str(error).split())[:300]}") from error
    model.load_other_parameter(other)
    load_tables(model, checkpoint.get("tables"), path)


def check_numbers(expected: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], path: Path) -> None:
    """Raises WeightsError for weights that torch would cast silently, and for NaN."""
    for name in expected.keys() & weights.keys():
        dtype, found = expected[name].dtype, weights[name].dtype
        if (dtype.is_floating_point, dtype.is_complex) != (found.is_floating_point, found.is_complex):
            raise WeightsError(f"{path}: its weight {name} has dtype {found}, expected {dtype}; {_RECOVER}")
        if found.is_floating_point and weights[name].isnan().any():
            raise WeightsError(f"{path}: its weight {name} contains NaN, expected numbers; {_RECOVER}")


def check_writable(folder: Path) -> None:
    """Fails before training if a folder is not writable.

    Raises:
        StorageError: The folder is not writable.
    """
    probe = folder / ".writable"
    write_whole(probe, lambda partial: partial.touch())
    probe.unlink(missing_ok=True)

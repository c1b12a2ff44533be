"""Vectors as bytes for stores outside of the process: checked plain numbers, never pickles."""

from __future__ import annotations

import struct
import zlib

import numpy as np

__all__ = ["pack", "unpack"]

# Magic byte and version, kind of numbers, width, and the checksum of all other bytes; 9 bytes
_HEAD, _CHECKSUM = struct.Struct("<BBBH"), struct.Struct("<I")
_MAGIC, _VERSION, _FLOAT32 = 0xC5, 1, 1


def pack(vector: np.ndarray) -> bytes:
    """A vector, ``(A,)``, as little-endian bytes: magic, version, dtype, width (2), crc32 (4), float32 numbers."""
    head = _HEAD.pack(_MAGIC, _VERSION, _FLOAT32, len(vector))
    numbers = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return head + _CHECKSUM.pack(zlib.crc32(numbers, zlib.crc32(head))) + numbers


def unpack(value: bytes, width: int) -> np.ndarray | None:
    """The vector, ``(width,)`` float32, or None if the bytes are not what ``pack`` made of one of this width."""
    start = _HEAD.size + _CHECKSUM.size
    head, numbers = value[: _HEAD.size], value[start:]
    if head != _HEAD.pack(_MAGIC, _VERSION, _FLOAT32, width) or len(numbers) != 4 * width:
        return None
    if _CHECKSUM.pack(zlib.crc32(numbers, zlib.crc32(head))) != value[_HEAD.size : start]:
        return None
    return np.frombuffer(numbers, dtype="<f4").astype(np.float32)

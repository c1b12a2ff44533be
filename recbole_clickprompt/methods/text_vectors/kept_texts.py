"""Finds what was computed earlier for texts that occur again, by a hash of each text.

Letters: U texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from recbole_clickprompt.tensor_cache import TensorCache

__all__ = ["HASH_SIZE", "earlier_files", "hash_texts", "places_of"]

HASH_SIZE = 16  # bytes


def hash_texts(texts: Iterable[bytes]) -> Tensor:
    """A hash of each text, ``(U, HASH_SIZE)`` uint8."""
    digests = [hashlib.blake2b(text, digest_size=HASH_SIZE).digest() for text in texts]
    return torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).view(-1, HASH_SIZE)


def places_of(wanted: Tensor, known: Tensor) -> Tensor:
    """The row of each wanted hash among the known ones, ``(U,)`` int64; -1 where it is not among them."""
    rows = {digest.tobytes(): row for row, digest in enumerate(known.cpu().numpy())}
    return torch.tensor([rows.get(digest.tobytes(), -1) for digest in wanted.cpu().numpy()], dtype=torch.int64)


def earlier_files(cache: TensorCache, folder: Path, pattern: str, key: str) -> Iterator[Path]:
    """Files of a kind whose metadata have this ``encoder``, newest first.

    Args:
        cache: The kind.
        folder: Where they are kept.
        pattern: Of their names.
        key: A hash of all that determines what they hold for a text.
    """
    for path in sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if cache.read_metadata(path).get("encoder") == key:
            yield path

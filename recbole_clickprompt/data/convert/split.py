"""Writes the paper's split of a data set as the files that ``benchmark_filename`` names, and counts its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.atomic import AtomicWriter
from recbole_clickprompt.errors import DataError

__all__ = ["Counts", "shuffled", "split_sizes", "write_interactions"]

_PARTS = ("train", "valid", "test")
_CHUNK = 1 << 20  # rows


@dataclass(frozen=True)
class Counts:
    """Counts of a prepared data set, or those published for it; None where unknown.

    Attributes:
        raw_rows: Rows of the publisher's file.
        rows: Rows with a label, of all three parts.
        positive: Those with label 1.
        parts: Rows of the training, validation and test part.
        vocabulary: Distinct values of all fields of the text together.
        users: Distinct users of the rows.
        items: Distinct items of the rows.
        notes: What a user should know about the conversion, one sentence each.
    """

    raw_rows: int | None = None
    rows: int | None = None
    positive: int | None = None
    parts: tuple[int, int, int] | None = None
    vocabulary: int | None = None
    users: int | None = None
    items: int | None = None
    notes: Sequence[str] = field(default=(), compare=False)


def split_sizes(rows: int) -> tuple[int, int, int]:
    """Rows of the training, validation and test part.

    The rows after the first nine tenths (rounded down) are the test part; the last ninth (rounded up) of those
    nine tenths is the validation part. This reproduces the published sizes of all four data sets exactly.

    Raises:
        DataError: There are fewer than 10 rows.
    """
    if rows < 10:
        raise DataError(f"{rows} rows are too few for a training, validation and test part; it takes 10")
    first = rows * 9 // 10
    valid = -(-first // 9)
    return first - valid, valid, rows - first


def shuffled(rows: int, seed: int) -> np.ndarray:
    """A random permutation, ``(rows,)``; the same for a seed on every machine."""
    return np.random.RandomState(seed).permutation(rows)


def write_interactions(
    folder: Path,
    name: str,
    types: Mapping[str, str],
    *,
    rows: int,
    labelled: Callable[[int, int], pl.DataFrame],
    everything: pl.DataFrame | None = None,
) -> tuple[int, int, int]:
    """Writes ``NAME.inter`` and the three parts of the split, a million rows at a time.

    Args:
        folder: Where to write.
        name: Name of the data set.
        types: Field: type, in the order of the columns.
        rows: Rows of the split.
        labelled: Returns the rows with numbers from ``start`` up to ``stop``, in the order of the split.
        everything: Rows of ``NAME.inter``; None means the rows of the split.

    Returns:
        Rows of each part.

    Raises:
        DataError: There are fewer than 10 rows.
    """
    sizes = split_sizes(rows)
    with AtomicWriter(folder / f"{name}.inter", types) as whole:
        if everything is not None:
            whole.write(everything)
        start = 0
        for part, size in zip(_PARTS, sizes, strict=True):
            with AtomicWriter(folder / f"{name}.{part}.inter", types) as writer:
                for first in range(start, start + size, _CHUNK):
                    frame = labelled(first, min(first + _CHUNK, start + size))
                    writer.write(frame)
                    if everything is None:
                        whole.write(frame)
            start += size
    return sizes

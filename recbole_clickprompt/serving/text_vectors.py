"""Vectors of the texts of unseen users and items as columns of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from recbole_clickprompt.serving.vector_cache import VectorCache
from recbole_clickprompt.trainer.text_vectors import vector_column

__all__ = ["TextVectors", "text_column"]


def text_column(level: str) -> str:
    """The column of encoded rows that holds the texts of a level: objects, None where no text is encoded."""
    return f"{level}_text"


class TextVectors:
    """Replaces columns of texts by columns of vectors.

    Args:
        cache: Looks vectors up, or computes them.
    """

    def __init__(self, cache: VectorCache) -> None:
        self.cache = cache

    def parts(self, columns: Mapping[str, np.ndarray]) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Splits rows by the levels of which they have a text: a part has a column of vectors or does not.

        Args:
            columns: Columns of B rows, as ``RowEncoder`` returns them.

        Yields:
            Numbers of the rows of a part, ``(N,)``, and their columns, with ``item_vector`` and ``user_vector``,
            ``(N, A)``, instead of the texts.

        Raises:
            DataError: A vector is not finite.
        """
        levels = [level for level in self.cache.levels if text_column(level) in columns]
        texts = {level: columns[text_column(level)] for level in levels}
        others = {name: v for name, v in columns.items() if name not in map(text_column, levels)}
        rows = len(next(iter(others.values())))
        vectors, kind = {}, np.zeros(rows, dtype=np.int64)
        for bit, level in enumerate(levels):
            given = np.array([text is not None for text in texts[level]], dtype=bool)
            kind += given.astype(np.int64) << bit
            if given.any():  # one look-up for all parts
                found = self.cache.get(level, texts[level][given].tolist())
                vectors[level] = np.zeros((rows, found.shape[1]), dtype=np.float32)
                vectors[level][given] = found
        for which in np.unique(kind):
            part = np.flatnonzero(kind == which)
            chosen = others if len(part) == rows else {name: values[part] for name, values in others.items()}
            added = {
                vector_column(level): vectors[level][part] for bit, level in enumerate(levels) if which >> bit & 1
            }
            yield part, {**chosen, **added}

"""Guesses whether a field of a user's table describes the user, the item or the row, and whether it is an id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recbole_clickprompt.data.convert.distinct import DistinctValues, combine_hashes

__all__ = ["SourceScan", "UniqueValues"]


class UniqueValues:
    """Whether users or items all have different values of a field, batch by batch; missing values do not count.

    Args:
        folder: For temporary files.
    """

    def __init__(self, folder: Path) -> None:
        self._values, self._present = DistinctValues(folder), 0

    def add(self, values: np.ndarray, is_missing: np.ndarray) -> None:
        """Adds hashes of the values of some users or items, ``(n,)`` uint64, and whether they are missing."""
        present = values[~is_missing]
        self._present += len(present)
        self._values.add(present)

    def are_unique(self) -> bool:
        """Whether no value comes twice."""
        return self._present > 1 and self._values.count() == self._present


class SourceScan:
    """Guesses from all of its values, batch by batch, whether a field belongs to the user, the item or the row.

    A field with more values than users in a batch is no user's, which is noticed early for most fields.

    Args:
        folder: For temporary files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._possible = ["user", "item"]
        # Made when needed: each is an open file
        self._pairs: dict[str, DistinctValues] = {}
        self._values: dict[str, UniqueValues] = {}
        self._value: np.ndarray | None = None
        self._is_constant = True

    def add(
        self,
        values: np.ndarray,
        is_missing: np.ndarray,
        ids: Mapping[str, np.ndarray],
        numbers: Mapping[str, int],
        first_rows: Mapping[str, np.ndarray],
    ) -> None:
        """Adds a batch.

        Args:
            values: Hashes of the field's values, ``(rows,)`` uint64.
            is_missing: Whether they are missing, ``(rows,)``.
            ids: Hashes of the users' and the items' ids, each ``(rows,)`` uint64.
            numbers: How many of these are different.
            first_rows: The rows with users and items that no earlier row has.
        """
        if not len(values):
            return
        self._value = values[:1] if self._value is None else self._value
        self._is_constant &= bool((values == self._value).all())
        for source in list(self._possible):
            pairs = np.unique(combine_hashes(ids[source], values))
            if len(pairs) > numbers[source]:
                self._possible.remove(source)
                self._pairs.pop(source, None)
                self._values.pop(source, None)
                continue
            if source not in self._pairs:
                self._pairs[source] = DistinctValues(self._folder)
                self._values[source] = UniqueValues(self._folder)
            self._pairs[source].add(pairs)
            first = first_rows[source]
            self._values[source].add(values[first], is_missing[first])

    def guess(self, rows: int, numbers: Mapping[str, int]) -> str:
        """``user`` or ``item`` if each of them has exactly one value of the field; the rarer one first.

        Else ``inter``, also for a constant, and for ids that occur only once, which prove nothing.

        Args:
            rows: Number of all rows.
            numbers: Number of different users and items.
        """
        if self._is_constant:
            return "inter"
        for source in sorted(numbers, key=lambda source: numbers[source]):
            if source in self._pairs and self._pairs[source].count() == numbers[source] < rows:
                return source
        return "inter"

    def is_one_to_one(self, source: str) -> bool:
        """Whether the users or items that the field belongs to all have different values of it."""
        return self._values[source].are_unique()

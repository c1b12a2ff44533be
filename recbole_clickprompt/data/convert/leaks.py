"""Finds columns that give the label away, such as a rating next to the click that was derived from it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.distinct import hash_columns
from recbole_clickprompt.errors import DataError

__all__ = ["LeakScan", "check_leaks"]

_LEAK_AUC = 0.95  # a column that ranks better than this by itself gives the label away
_SAMPLED = 1 << 15  # rows of each class
_FEWEST = 20  # rows of each class; with fewer, a high AUC may be chance


class LeakScan:
    """How well each column alone ranks held-out rows, measured on a random sample of the rows, batch by batch.

    Half of the sample gives the mean label of each value; the other half is ranked by it, or by the number itself.
    AUC does not depend on the share of positive rows, so as many rows of each class are sampled. Which rows are
    sampled depends only on their numbers.

    Args:
        positive: Number of all positive rows.
        negative: Number of all other rows.
    """

    def __init__(self, positive: int, negative: int) -> None:
        shares = [min(1.0, _SAMPLED / max(number, 1)) for number in (negative, positive)]
        self._limits = np.array([int(share * (2**64 - 1025)) for share in shares], np.uint64)
        self._rows = 0
        self._labels: list[np.ndarray] = []
        self._held_out: list[np.ndarray] = []
        self._ids: dict[str, list[np.ndarray]] = {"user": [], "item": []}
        self._values: dict[str, list[np.ndarray]] = {}
        self._numbers: dict[str, list[np.ndarray]] = {}

    def add(
        self,
        labels: np.ndarray,
        ids: Mapping[str, np.ndarray],
        values: Mapping[str, np.ndarray],
        numbers: Mapping[str, pl.Series],
    ) -> None:
        """Adds a batch.

        Args:
            labels: Whether a row is positive, ``(rows,)``.
            ids: Hashes of the users' and the items' ids, each ``(rows,)`` uint64.
            values: Field: hashes of its values, ``(rows,)`` uint64.
            numbers: Field: its numbers, for number fields.
        """
        chance = hash_columns(pl.Series(np.arange(self._rows, self._rows + len(labels))))
        self._rows += len(labels)
        rows = np.flatnonzero(chance <= self._limits[labels.astype(np.int64)])
        self._labels.append(labels[rows])
        self._held_out.append(chance[rows] % 2 == 1)
        for source, hashes in ids.items():
            self._ids[source].append(hashes[rows])
        for field, hashes in values.items():
            self._values.setdefault(field, []).append(hashes[rows])
        for field, column in numbers.items():
            self._numbers.setdefault(field, []).append(column.gather(rows).to_numpy())

    def add_entities(self, source: str, id_field: str, frames: Iterable[pl.DataFrame]) -> None:
        """Adds the columns of a table of users or items, after all rows.

        Args:
            source: ``user`` or ``item``.
            id_field: The column of ids.
            frames: Rows of the table.
        """
        ids, rows = np.unique(np.concatenate(self._ids[source]), return_inverse=True)
        values: dict[str, np.ndarray] = {}
        numbers: dict[str, np.ndarray] = {}
        for frame in frames:
            hashes = hash_columns(frame[id_field])
            places = np.searchsorted(ids, hashes).clip(max=len(ids) - 1)
            found = np.flatnonzero(ids[places] == hashes)
            for column in frame.drop(id_field):
                of_ids = values.setdefault(column.name, np.zeros(len(ids), np.uint64))
                of_ids[places[found]] = hash_columns(column.gather(found))
                if column.dtype.is_float():
                    of_ids = numbers.setdefault(column.name, np.full(len(ids), np.nan))
                    of_ids[places[found]] = column.gather(found).to_numpy()
        self._values |= {field: [of_ids[rows]] for field, of_ids in values.items()}
        self._numbers |= {field: [of_ids[rows]] for field, of_ids in numbers.items()}

    def aucs(self) -> dict[str, float]:
        """Field: the higher AUC of its values' mean labels and of its numbers; empty for a small sample."""
        labels, held_out = np.concatenate(self._labels), np.concatenate(self._held_out)
        smallest = min(np.bincount(labels[part], minlength=2).min() for part in (held_out, ~held_out))
        if smallest < _FEWEST:
            return {}
        found = {}
        for field, parts in self._values.items():
            _, values = np.unique(np.concatenate(parts), return_inverse=True)
            positive = np.bincount(values[~held_out], labels[~held_out], minlength=values.max() + 1)
            counts = np.bincount(values[~held_out], minlength=values.max() + 1)
            means = (positive + labels[~held_out].mean()) / (counts + 1)
            found[field] = _auc(means[values[held_out]], labels[held_out])
        for field, parts in self._numbers.items():
            numbers = np.concatenate(parts)
            there = held_out & ~np.isnan(numbers)
            if np.bincount(labels[there], minlength=2).min() >= _FEWEST:
                auc = _auc(numbers[there], labels[there])
                found[field] = max(found[field], auc, 1 - auc)
        return found


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The area under the ROC curve, where equal scores count half.

    Importing scikit-learn for it would take 116 MB, a fifth of what a conversion may use.
    """
    _, groups, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[groups]
    positive = int(labels.sum())
    higher = ranks[labels].sum() - positive * (positive + 1) / 2
    return float(higher / (positive * (len(labels) - positive)))


def check_leaks(
    scan: LeakScan, file: str, columns: Mapping[str, str], keep: Collection[str], exempt: Collection[str]
) -> list[str]:
    """Rejects columns that give the label away.

    Args:
        scan: Has read all fields.
        file: Name of the table.
        columns: Field: its column.
        keep: Columns that are accepted; the result has a note on each that gives the label away.
        exempt: Fields that are not checked, as they are ids.

    Raises:
        DataError: Others give the label away; with their AUC and the options that drop or keep them.
    """
    aucs = {columns[field]: auc for field, auc in scan.aucs().items() if auc > _LEAK_AUC and field not in exempt}
    if leaking := [column for column in aucs if column not in keep]:
        shown = " and ".join(f"{column!r} (AUC {aucs[column]:.3f})" for column in leaking)
        drop, kept = (" ".join(f"--{o} {shlex.quote(c)}" for c in leaking) for o in ("drop", "keep"))
        raise DataError(
            f"{file}: the label of held-out rows can be read off {shown}, so it was probably written after the "
            f"click, and is unknown when rows are scored; leave it out with {drop}, or accept it with {kept}"
        )
    return [
        f"{column}: kept, although held-out rows ranked by it alone have AUC {aucs[column]:.3f}" for column in aucs
    ]

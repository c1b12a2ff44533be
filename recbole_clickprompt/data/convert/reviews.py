"""Steps shared by the reviews of Amazon and GoodReads: filter to a k-core, sort by time, split, write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.k_core import Interactions, k_core
from recbole_clickprompt.data.convert.split import write_interactions
from recbole_clickprompt.errors import DataError

__all__ = ["Core", "scratch_interactions"]

_TYPES = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
_CHUNK = 1 << 22  # rows processed at once


@contextmanager
def scratch_interactions(folder: Path) -> Iterator[Interactions]:
    """Interactions in temporary files inside ``folder``, which are removed at the end."""
    with tempfile.TemporaryDirectory(prefix="rows.", dir=folder) as scratch:
        yield Interactions(Path(scratch))


class Core:
    """The rows of a ``k``-core, sorted by time, then user, then item.

    Only their order is in memory, 4 bytes per row; the columns stay in the files of ``rows``, which must outlive
    this object.

    Args:
        rows: All interactions.
        k: Users and items with fewer rows are dropped repeatedly, until all have ``k`` rows.

    Raises:
        DataError: No row is left.
    """

    def __init__(self, rows: Interactions, k: int) -> None:
        self._columns = rows.columns()
        self._user_texts, self._item_texts = rows.users.texts(), rows.items.texts()
        users, items = self._columns["user"], self._columns["item"]
        kept = k_core(users, items, k=k, num_users=len(rows.users), num_items=len(rows.items))
        if not len(kept):
            raise DataError(
                f"of {rows.rows} rows none is in the {k}-core: users or items have fewer than {k} rows"
            )
        # Sorting by several keys at once would need all of them in memory; stable sorts need one at a time
        pair = _ranks(self._user_texts)[users[kept]].astype(np.int64) << 32
        pair |= _ranks(self._item_texts)[items[kept]]
        kept = _sorted(kept, pair)
        del pair
        self._order = _sorted(kept, self._columns["time"][kept])
        self.items = self._seen(items, len(rows.items), self._item_texts).alias("item_id")
        self.num_users = len(self._seen(users, len(rows.users), self._user_texts))
        self.positive = sum(int((self._columns["rating"][part] >= 4).sum()) for part in self._parts())

    def __len__(self) -> int:
        return len(self._order)

    def write(self, folder: Path, name: str) -> tuple[int, int, int]:
        """Writes ``name``'s interactions and split; returns the rows of each part."""

        def rows(start: int, stop: int) -> pl.DataFrame:
            user, item, rating, time = (column[self._order[start:stop]] for column in self._columns.values())
            users, items = self._user_texts.gather(user), self._item_texts.gather(item)
            return pl.DataFrame({"user_id": users, "item_id": items, "rating": rating, "timestamp": time})

        return write_interactions(folder, name, _TYPES, rows=len(self), labelled=rows)

    def _parts(self) -> Iterator[np.ndarray]:
        return (self._order[start : start + _CHUNK] for start in range(0, len(self), _CHUNK))

    def _seen(self, codes: np.ndarray, number: int, texts: pl.Series) -> pl.Series:
        seen = np.zeros(number, dtype=bool)
        for part in self._parts():
            seen[codes[part]] = True
        return texts.filter(pl.Series(seen))


def _sorted(rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return rows[np.argsort(keys, kind="stable")]


def _ranks(texts: pl.Series) -> np.ndarray:
    return texts.rank("ordinal").cast(pl.Int32).to_numpy()

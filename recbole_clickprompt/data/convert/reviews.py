"""What Amazon's and GoodReads' reviews share: filter to a core, sort by time, split, write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recbole_clickprompt.data.convert.core import Interactions, k_core
from recbole_clickprompt.data.convert.split import write_interactions
from recbole_clickprompt.errors import DataError

__all__ = ["Core", "core_of", "scratch_interactions"]

_TYPES = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}


@contextmanager
def scratch_interactions(folder: Path) -> Iterator[Interactions]:
    """Interactions in files beside what is being written, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="rows.", dir=folder) as scratch:
        yield Interactions(Path(scratch))


@dataclass(frozen=True)
class Core:
    """The rows that stay, in the order of the split.

    Attributes:
        users: Code of each row's user.
        items: Code of each row's item.
        ratings: Rating of each row.
        times: Seconds since 1970 of each row.
        user_texts: Id of each user's code.
        item_texts: Id of each item's code.
    """

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    times: np.ndarray
    user_texts: pl.Series
    item_texts: pl.Series

    def __len__(self) -> int:
        return len(self.users)

    def item_ids(self) -> pl.Series:
        """The distinct items of the rows."""
        return self.item_texts.gather(np.unique(self.items)).alias("item_id")

    def write(self, folder: Path, name: str) -> tuple[int, int, int]:
        """Writes ``name``'s interactions and split; returns the rows of each part."""

        def rows(start: int, stop: int) -> pl.DataFrame:
            part = slice(start, stop)
            return pl.DataFrame(
                {
                    "user_id": self.user_texts.gather(self.users[part]),
                    "item_id": self.item_texts.gather(self.items[part]),
                    "rating": self.ratings[part],
                    "timestamp": self.times[part],
                }
            )

        return write_interactions(folder, name, _TYPES, rows=len(self), labelled=rows)


def core_of(rows: Interactions, k: int) -> Core:
    """Drops users and items with fewer than ``k`` rows until none is left, and sorts by time, user and item.

    Raises:
        DataError: Nothing stays.
    """
    columns = rows.columns()
    num_users, num_items = len(rows.users), len(rows.items)
    kept = k_core(columns["user"], columns["item"], k=k, num_users=num_users, num_items=num_items)
    if not len(kept):
        raise DataError(
            f"of {rows.rows} rows none is in the {k}-core: every user and item has fewer than {k} rows"
        )
    user_texts, item_texts = rows.users.texts(), rows.items.texts()
    users, items, times = (columns[name][kept] for name in ("user", "item", "time"))
    order = np.lexsort((_ranks(item_texts)[items], _ranks(user_texts)[users], times))
    return Core(
        users=users[order],
        items=items[order],
        ratings=columns["rating"][kept][order],
        times=times[order],
        user_texts=user_texts,
        item_texts=item_texts,
    )


def _ranks(texts: pl.Series) -> np.ndarray:
    return texts.rank("ordinal").cast(pl.Int32).to_numpy()

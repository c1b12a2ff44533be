"""The column of a row's earlier clicks, as training read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.preprocessing.schema import Field, History
from recbole_clickprompt.serving.columns import raw_values

__all__ = ["HistoryCounts", "encode_history"]

_SEPARATOR = "|"


@dataclass
class HistoryCounts:
    """Counts of unusual histories.

    Attributes:
        absent: Rows of tables without a history column, whose histories are empty.
        unseen: Clicks on items that training never saw, which were left out.
    """

    absent: int = 0
    unseen: int = 0

    def add(self, other: HistoryCounts) -> None:
        """Adds the counts of other rows."""
        self.absent, self.unseen = self.absent + other.absent, self.unseen + other.unseen

    def messages(self) -> list[str]:
        """One line for each kind."""
        texts = {
            "rows have no column of earlier clicks; they were scored with empty histories": self.absent,
            "earlier clicks are on items that training never saw; they were left out": self.unseen,
        }
        return [f"{count:,} {text}" for text, count in texts.items() if count]


def encode_history(
    table: pa.Table, history: History, items: pd.Index, counts: HistoryCounts, first_row: int
) -> dict[str, np.ndarray]:
    """The history columns of a batch.

    Args:
        table: B raw rows; histories are lists or separated by ``|``, oldest first.
        history: The columns and the number of slots T.
        items: Item tokens; the id of a token is its position plus 1.
        counts: Updated with these rows.
        first_row: Number of the first of these rows, for errors.

    Returns:
        Ids of the last T known items, oldest first and 0 after them, ``(B, T)`` int64; their number, ``(B,)``
        int64; and, if the model reads them, their labels, ``(B, T)`` int64.

    Raises:
        DataError: A value has the wrong type, or a row does not have one label of 0 or 1 for each click.
    """
    columns = {name: np.zeros((len(table), history.length), dtype=np.int64) for name in history.raw}
    columns[history.lengths] = np.zeros(len(table), dtype=np.int64)
    if history.items not in table.column_names:
        counts.absent += len(table)
        return columns
    clicks = raw_values(table[history.items], _field(history.items, "token_seq"), _SEPARATOR, first_row)
    known = []
    for row, tokens in enumerate(clicks):
        ids = items.get_indexer(pd.Index(tokens, dtype=object)) + 1
        known.append(ids > 0)
        counts.unseen += len(ids) - int(known[row].sum())
        _fill(columns[history.items][row], ids[known[row]])
        columns[history.lengths][row] = min(int(known[row].sum()), history.length)
    if history.labels is None:
        return columns
    labels = raw_values(table[history.labels], _field(history.labels, "float_seq"), _SEPARATOR, first_row)
    for row, values in enumerate(labels):
        if len(values) != len(known[row]) or not set(values) <= {0.0, 1.0}:
            raise DataError(
                f"row {first_row + row:,} has {len(known[row])} clicks in {history.items} and the labels {values} "
                f"in {history.labels}; it must have one label, 0 or 1, for each click"
            )
        _fill(columns[history.labels][row], np.array(values, dtype=np.int64)[known[row]])
    return columns


def _fill(slots: np.ndarray, values: np.ndarray) -> None:
    """Puts the last values into the T slots, from the first slot on."""
    latest = values[-len(slots) :]
    slots[: len(latest)] = latest


def _field(name: str, kind: str) -> Field:
    return Field(name=name, type=kind, source="inter", size=0, width=0, feature=True, unsplit=False, scale=None)

"""Sends rows of a table to the processes that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from recbole_clickprompt.distributed import ProcessGroup

__all__ = ["exchange_rows"]


def exchange_rows(
    table: pd.DataFrame, owner: np.ndarray, group: ProcessGroup, *, lists: Mapping[str, str]
) -> pd.DataFrame:
    """Sends each row to its process; all processes call it.

    Args:
        table: Rows of this process: numbers, and lists of numbers as arrays. Its columns are removed one by one,
            so that there is no second table in memory.
        owner: Rank of the process that a row belongs to, ``(rows,)``.
        group: The processes.
        lists: For each column of lists, the type of their numbers.

    Returns:
        The rows for this process: those of process 0 in their order, then those of process 1, and so on.
    """
    order = np.argsort(owner, kind="stable")
    counts = group.all_gather(np.bincount(owner, minlength=group.world).tolist())
    received: dict[str, object] = {}
    for name in list(table.columns):
        values = table.pop(name).to_numpy()[order]
        if name not in lists:
            received[name] = _send(values, counts, group)
            continue
        lengths = np.array([len(row) for row in values], dtype=np.int64)
        sizes = np.bincount(owner[order], weights=lengths, minlength=group.world).astype(int).tolist()
        flat = np.concatenate([np.zeros(0), *values]).astype(lists[name])
        ends = np.cumsum(_send(lengths, counts, group))
        received[name] = np.split(_send(flat, group.all_gather(sizes), group), ends[:-1])
    return pd.DataFrame(received)


def _send(values: np.ndarray, counts: Sequence[Sequence[int]], group: ProcessGroup) -> np.ndarray:
    return group.exchange(torch.from_numpy(values), counts).numpy()

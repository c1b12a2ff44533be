"""Places in the order of rows that several processes hold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_clickprompt.distributed import ProcessGroup

__all__ = ["among_first", "time_keys"]


def time_keys(times: pd.Series) -> np.ndarray:
    """Whole numbers in the order of times, ``(rows,)`` int64.

    Args:
        times: Float64 numbers, or RecBole's pairs of a number and 1 for a numerical feature.
    """
    numbers = np.array(times.tolist())[:, 0] if times.dtype == object else times.to_numpy()
    bits = (numbers + 0.0).view(np.int64)  # 0.0 and -0.0 are the same time
    return bits ^ ((bits >> 63) & np.int64(2**63 - 1))  # float64 orders negative numbers the other way round


def among_first(keys: np.ndarray, count: int, group: ProcessGroup) -> int:
    """How many rows of this process are among the first ``count`` rows of all processes.

    Bisection finds the key of the last of these rows, then among equal ones the next key of it, and so on. All
    processes call it; each step exchanges one number.

    Args:
        keys: What orders the rows, ``(rows, keys)`` int64: by the first key, then by the next one. They ascend in
            each process, and no two rows of all processes are equal.
        count: A number of rows.
        group: The processes.
    """
    if count == 0:
        return 0
    begin, end = 0, len(keys)
    for key in keys.T:
        equal = key[begin:end]  # rows that are equal in the keys before
        low, high = -(2**63), 2**63 - 1
        while low < high:
            middle = (low + high) // 2
            if sum(group.all_gather(int(np.searchsorted(equal, middle, side="right")))) < count:
                low = middle + 1
            else:
                high = middle
        left, right = (int(np.searchsorted(equal, low, side=side)) for side in ("left", "right"))
        count -= sum(group.all_gather(left))
        begin, end = begin + left, begin + right
    return end

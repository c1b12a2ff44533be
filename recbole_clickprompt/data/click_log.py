"""Each user's earlier clicks, as one log of all clicks and two numbers per row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_clickprompt.errors import DataError

__all__ = ["ClickLog", "RowOrder", "build_click_log"]


_MOST_CLICKS = 2**31 - 1  # places in the log are 32-bit integers


class RowOrder:
    """N rows by user, then time, then their order in the file.

    Memory is 8 bytes per row for the order and 1 for each of the two masks.

    Args:
        users: Ids, ``(N,)``.
        times: Finite, ``(N,)``; None where the order of the rows is the time.

    Attributes:
        rows: Row numbers in that order, ``(N,)``.
        new_user: True at the first row of each user, in that order, ``(N,)``.
        new_time: True at the first row of each user and time, in that order, ``(N,)``.
    """

    def __init__(self, users: np.ndarray, times: np.ndarray | None) -> None:
        # lexsort is stable, so rows of one time stay in file order
        self.rows = np.argsort(users, kind="stable") if times is None else np.lexsort((times, users))
        changes = np.ones(len(users), dtype=bool)
        ordered = users[self.rows]
        np.not_equal(ordered[1:], ordered[:-1], out=changes[1:])
        self.new_user = changes
        if times is None:
            self.new_time = np.ones(len(users), dtype=bool)
        else:
            del ordered  # before the next array of this size
            ordered, self.new_time = times[self.rows], changes.copy()
            self.new_time[1:] |= ordered[1:] != ordered[:-1]


class ClickLog(NamedTuple):
    """The clicks of all users, and where the earlier clicks of each row are among them.

    ::

        clicks:  | a b c d | e f | g ...     by user, then time, then order in the file
                   ^   ^
               begin   end                   a row of the first user, later than b and not later than c:
                                             its history is clicks[begin:end] = a b

    Attributes:
        clicks: Row numbers of the clicks, ``(C,)``.
        begin: Of each row, where its user's clicks begin, ``(N,)`` int32.
        end: Of each row, the first click that is not earlier than it, ``(N,)`` int32.
    """

    clicks: np.ndarray
    begin: np.ndarray
    end: np.ndarray


def build_click_log(order: RowOrder, is_click: np.ndarray) -> ClickLog:
    """The log of the rows that are clicks. Rows of one user and time do not see one another.

    Args:
        order: Of N rows.
        is_click: The rows that are part of histories, ``(N,)``.

    Raises:
        DataError: There are 2**31 clicks or more.
    """
    kept = is_click[order.rows]
    clicks = order.rows[kept]
    if len(clicks) > _MOST_CLICKS:
        raise DataError(f"{len(clicks):,} clicks are more than a history log holds, {_MOST_CLICKS:,}")
    before = np.cumsum(kept, dtype=np.int32)
    before -= kept  # clicks ahead of each row
    return ClickLog(clicks, _at_start(before, order.new_user, order), _at_start(before, order.new_time, order))


def _at_start(before: np.ndarray, is_start: np.ndarray, order: RowOrder) -> np.ndarray:
    """The value at the start of each row's group, by row number, ``(N,)``; values do not decrease."""
    starts = np.where(is_start, before, 0)
    np.maximum.accumulate(starts, out=starts)
    values = np.empty_like(before)
    values[order.rows] = starts
    return values

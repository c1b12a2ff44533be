"""Click histories of the rows of a split data set: each user's earlier clicks, found once and cut per batch.

A row holds two hidden integers, and the parts of a split share the log that these point into, so that histories
of any length take 8 bytes per row (``data/click_log.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_clickprompt.data.click_log import RowOrder, build_click_log
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.host.split_rows import SplitRows
from recbole_clickprompt.settings.history_fields import HistoryFields

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["HistoryLog", "add_histories", "check_history"]

_BEGIN, _END = "begin:history", "end:history"  # hidden columns; no field's name can hold a colon


class HistoryLog(NamedTuple):
    """The clicks that the rows of a part may see, and how a batch shows them.

    Attributes:
        items: Item ids by user and time, ``(C,)`` int32.
        labels: Their labels, ``(C,)`` int8; None where all are clicks.
        length: Most clicks per row, T.
        fields: Names of the columns.
    """

    items: Tensor
    labels: Tensor | None
    length: int
    fields: HistoryFields

    def replace_columns(self, rows: Interaction) -> Interaction:
        """Puts histories in the place of the two hidden columns.

        Args:
            rows: B rows of a part.

        Returns:
            The same object, with the item ids of the last T earlier clicks of each row, oldest first and 0 after
            them, ``(B, T)`` int64; their number, ``(B,)`` int64; and with labels those, ``(B, T)`` int64.
        """
        columns = rows.interaction
        begin, end = columns.pop(_BEGIN).long(), columns.pop(_END).long()
        lengths = (end - begin).clamp_(max=self.length)
        slots = torch.arange(self.length)
        empty = slots >= lengths.unsqueeze(1)  # (B, T)
        places = ((end - lengths).unsqueeze(1) + slots).masked_fill_(empty, 0)
        added = {self.fields.items: self._at(self.items, places, empty), self.fields.length: lengths}
        if self.labels is not None:
            added[self.fields.labels] = self._at(self.labels, places, empty)
        rows.update(Interaction(added))
        return rows

    def shuffled(self, generator: torch.Generator) -> HistoryLog:
        """A control: the same clicks in random order, so that a row has those of other users."""
        order = torch.randperm(len(self.items), generator=generator)
        labels = None if self.labels is None else self.labels[order]
        return self._replace(items=self.items[order], labels=labels)

    def slot_counts(self, rows: Interaction, items: int) -> Tensor:
        """How often each item is in a history of some rows of a part.

        Args:
            rows: With the two hidden columns, as ``inter_feat`` of a part has them.
            items: Number of item ids.

        Returns:
            ``(items,)`` int64; with labels, slots with label 0 do not count.
        """
        end = rows[_END].long()
        begin = torch.maximum(rows[_BEGIN].long(), end - self.length)
        # +1 where a history begins and -1 where it ends: the running sum is the number of histories with a click
        changes = torch.zeros(len(self.items) + 1, dtype=torch.int64)
        changes.index_add_(0, begin, torch.ones_like(begin))
        changes.index_add_(0, end, -torch.ones_like(end))
        shown = changes.cumsum(0)[:-1]
        if self.labels is not None:
            shown = shown * self.labels
        return torch.zeros(items, dtype=torch.int64).index_add_(0, self.items.long(), shown)

    @staticmethod
    def _at(values: Tensor, places: Tensor, empty: Tensor) -> Tensor:
        if not len(values):
            return torch.zeros_like(places)
        return values[places].long().masked_fill_(empty, 0)

    def digest(self) -> str:
        """A hash of the clicks, for fingerprints."""
        digest = hashlib.sha256(self.items.numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


def check_history(dataset: TextDataset) -> None:
    """Rejects settings of histories that contradict one another or the data set.

    Args:
        dataset: With its fields, before its rows are split.

    Raises:
        SettingError: There is no time field and ``history_order`` is not ``file``, or a field of the data set has
            the name of a history's column.
        DataError: A row has no time.
    """
    config = dataset.config
    if config["history_length"] is None:
        return
    for name in HistoryFields.from_config(config):
        if name in dataset.field2type:
            raise SettingError(
                f"history_length adds the column {name}, but the data set has a field of this name; rename it "
                "with rename_fields, or leave it out with unload_col"
            )
    if config["history_order"] == "file":
        return
    times = dataset.file_times
    if times is None:
        raise SettingError(
            f"history_length needs the time of each row, and the data set has no number field "
            f"{dataset.time_field!r} (TIME_FIELD); load it, or set `history_order: file` if the rows of the file "
            "are in chronological order"
        )
    missing = sum(dataset.row_group.all_gather(int(times.isna().sum())))
    if missing:
        raise DataError(
            f"history_length needs the time of each row, but {missing} rows have none in {dataset.time_field}; "
            "add the times, set `drop_missing: True`, or set `history_order: file`"
        )


def add_histories(whole: TextDataset, parts: Sequence[TextDataset], rows: SplitRows) -> None:
    """Gives each part of a split the log of the clicks that its rows may see.

    Training rows see earlier clicks of training rows. Validation and test rows see the same, or with
    ``history_until: row`` earlier clicks of all parts. With ``train_rows``, the other training rows are in no
    history: their labels count as unknown.

    The whole data set, of which RecBole reads a row to count a model's operations, shows no clicks.

    Args:
        whole: Before the split.
        parts: Training, validation and test part.
        rows: Of these parts.
    """
    config, first = whole.config, parts[0]
    order = RowOrder(rows.column(first.uid_field), rows.times())
    items, labels = rows.column(first.iid_field).astype(np.int32), rows.column(first.label_field) > 0
    shown = rows.known if config["history"] == "all" else rows.known & labels
    until = config["history_until"] or ("training" if config["cold_start"] == first.uid_field else "row")
    logs = [build_click_log(order, shown & (rows.part_of == 0))]
    if until == "row":
        logs.append(build_click_log(order, shown))
    clicks = np.concatenate([log.clicks for log in logs])  # one log after the other: all parts share it
    history = HistoryLog(
        items=torch.from_numpy(items[clicks]),
        labels=torch.from_numpy(labels[clicks].astype(np.int8)) if config["history"] == "all" else None,
        length=config["history_length"],
        fields=HistoryFields.from_config(config),
    )
    for number, part in enumerate(parts):
        readable, offset = (logs[0], 0) if number == 0 else (logs[-1], len(clicks) - len(logs[-1].clicks))
        own = rows.of_part(number)
        part.history_log = history
        for name, bounds in ((_BEGIN, readable.begin), (_END, readable.end)):
            part.inter_feat[name] = torch.from_numpy(bounds[own] + np.int32(offset))
    whole.history_log = history
    for name in (_BEGIN, _END):
        whole.inter_feat[name] = torch.zeros(len(whole), dtype=torch.int32)

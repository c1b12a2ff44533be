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
from recbole_clickprompt.settings.history_fields import HistoryFields
from recbole_clickprompt.trainer.sampling import sampled_rows

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["ROW", "TIME", "HistoryLog", "add_histories", "check_history"]

# Hidden columns; no field's name can hold a colon
ROW, TIME = "row:file", "time:file"  # go through the split with the rows, and never into a batch
_BEGIN, _END = "begin:history", "end:history"


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
    missing = int(times.isna().sum())
    if missing:
        raise DataError(
            f"history_length needs the time of each row, but {missing} rows have none in {dataset.time_field}; "
            "add the times, set `drop_missing: True`, or set `history_order: file`"
        )


def add_histories(whole: TextDataset, parts: Sequence[TextDataset]) -> None:
    """Gives each part of a split the log of the clicks that its rows may see.

    Training rows see earlier clicks of training rows. Validation and test rows see the same, or with
    ``history_until: row`` earlier clicks of all parts. With ``train_rows``, the other training rows are in no
    history: their labels count as unknown.

    The whole data set, of which RecBole reads a row to count a model's operations, shows no clicks.

    Args:
        whole: Before the split.
        parts: Training, validation and test part, with the columns ``ROW`` and, unless ``history_order`` is
            ``file``, ``TIME``; ``ROW`` is removed.
    """
    config = whole.config
    rows = torch.cat([part.inter_feat.interaction.pop(ROW) for part in parts]).numpy()
    place = np.argsort(rows)  # of each row of the file among those of all parts

    def column(name: str) -> np.ndarray:
        return torch.cat([part.inter_feat[name] for part in parts]).numpy()[place]

    first = parts[0]
    order = RowOrder(column(first.uid_field), None if config["history_order"] == "file" else column(TIME))
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[place]
    items, labels = column(first.iid_field).astype(np.int32), column(first.label_field) > 0
    known = np.ones(len(rows), dtype=bool)
    if config["train_rows"] is not None:
        known[: len(first)] = False
        known[sampled_rows(config, len(first), "train_rows").numpy()] = True
        known = known[place]
    shown = known if config["history"] == "all" else known & labels
    by_file = np.empty_like(place)
    by_file[place] = np.arange(len(place))  # of each row of all parts, its place in the file
    until = config["history_until"] or ("training" if config["cold_start"] == first.uid_field else "row")
    training = part_of == 0
    logs = [build_click_log(order, shown & training)]
    if until == "row":
        logs.append(build_click_log(order, shown))
    clicks = np.concatenate([log.clicks for log in logs])  # one log after the other: all parts share it
    history = HistoryLog(
        items=torch.from_numpy(items[clicks]),
        labels=torch.from_numpy(labels[clicks].astype(np.int8)) if config["history"] == "all" else None,
        length=config["history_length"],
        fields=HistoryFields.from_config(config),
    )
    starts = np.cumsum([0, *map(len, parts)])
    for number, part in enumerate(parts):
        readable, offset = (logs[0], 0) if number == 0 else (logs[-1], len(clicks) - len(logs[-1].clicks))
        own = by_file[starts[number] : starts[number + 1]]
        part.history_log = history
        for name, bounds in ((_BEGIN, readable.begin), (_END, readable.end)):
            part.inter_feat[name] = torch.from_numpy(bounds[own] + np.int32(offset))
    whole.history_log = history
    for name in (_BEGIN, _END):
        whole.inter_feat[name] = torch.zeros(len(whole), dtype=torch.int32)

"""Counts what a run really reads: the rows of a split data set, its users, items, labels, times and values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from logging import INFO, getLogger
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_clickprompt.evaluation.data_report import DataReport, FieldNumbers, PartNumbers, data_text
from recbole_clickprompt.host.data_advice import advice
from recbole_clickprompt.trainer.sampling import sample, sample_negatives

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["data_report", "log_data_report"]

_PARTS = ("training", "validation", "test")
_INTERVALS = 40  # of the timeline
_SHARES = (0.5, 0.9, 0.99)  # of the training rows


def log_data_report(parts: Sequence[TextDataset]) -> None:
    """Writes the report to the log, if that shows information: only one of several processes does."""
    if any(
        parts[0].row_group.all_gather(getLogger().isEnabledFor(INFO))
    ):  # processes that share rows count together
        getLogger().info(data_text(data_report(parts)))


def data_report(parts: Sequence[TextDataset]) -> DataReport:
    """The numbers of a data set.

    Args:
        parts: The result of ``TextDataset.build``. With ``train_rows`` or ``train_negatives``, only the sampled
            training rows count.
    """
    whole, config = parts[0], parts[0].config
    labeled = sample(config, whole, "train_rows")
    train = sample_negatives(config, labeled)
    named = dict(zip(_PARTS, [train, *parts[1:]], strict=False))
    shares = whole.row_group.all_gather(whole.dropped)
    names = dict.fromkeys(setting for share in shares for setting in share)
    dropped = {_with_value(name, config): sum(share.get(name, 0) for share in shares) for name in names}
    for setting, before, after in (("train_rows", whole, labeled), ("train_negatives", labeled, train)):
        if len(after) < len(before):
            dropped[_with_value(setting, config)] = len(before) - len(after)
    seen = {field: _rows_by_id(train, field) > 0 for field in (whole.uid_field, whole.iid_field)}
    numbers = {name: _part(part, seen) for name, part in named.items()}
    return DataReport(
        dataset=whole.dataset_name,
        parts=numbers,
        fields={field: _field(named, field) for field in _fields(whole)},
        dropped=dropped,
        advice=advice(numbers, config, has_time=whole.file_times is not None),
        timeline=_timeline(named),
        frequency=_frequency(train),
        capacity=_capacity(train),
    )


def _with_value(setting: str, config: Any) -> str:
    value = config[setting]
    return setting if value in (None, True) else f"{setting} {value}"


def _fields(dataset: TextDataset) -> list[str]:
    # Of source NET: the columns that only texts read
    return [
        field
        for field, source in dataset.field2source.items()
        if field != dataset.label_field and source is not FeatureSource.NET
    ] + [field for field in dataset.missing_rows if field not in dataset.field2source]


def _rows_by_id(part: TextDataset, field: str) -> Tensor:
    """The number of rows with each id, ``(ids,)``."""
    return part.row_group.total(torch.bincount(part.inter_feat[field], minlength=part.num(field)))


def _count(part: TextDataset, rows: int | Tensor) -> int:
    """A number of rows over all processes."""
    return sum(part.row_group.all_gather(int(rows)))


def _part(part: TextDataset, seen: dict[str, Tensor]) -> PartNumbers:
    unseen = {field: _count(part, (~known[part.inter_feat[field]]).sum()) for field, known in seen.items()}
    users, items = (int((_rows_by_id(part, field) > 0).sum()) for field in (part.uid_field, part.iid_field))
    return PartNumbers(
        rows=_count(part, len(part)),
        users=users,
        items=items,
        positive=_count(part, (part.inter_feat[part.label_field] > 0).sum()),
        times=_period([part]),
        unseen_users=unseen[part.uid_field],
        unseen_items=unseen[part.iid_field],
    )


def _period(parts: Iterable[TextDataset]) -> tuple[float, float] | None:
    """First and last time of rows; None if no row has one."""
    found = []
    for part in parts:
        times = part.times[~part.times.isnan()] if part.times is not None else torch.zeros(0)
        found += part.row_group.all_gather((float(times.min()), float(times.max())) if len(times) else None)
    known = [period for period in found if period is not None]
    return (min(first for first, _ in known), max(last for _, last in known)) if known else None


def _field(parts: dict[str, TextDataset], field: str) -> FieldNumbers:
    whole = parts[_PARTS[0]]
    missing = {name: _missing(part, field) for name, part in parts.items()}
    if whole.field2type.get(field) not in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ):
        return FieldNumbers(None, None, missing)
    values, rows = _column(whole, field)
    used = torch.zeros(whole.num(field), dtype=torch.int32)
    used[(values if rows is None else values[rows.unique()]).reshape(-1).long()] = 1
    return FieldNumbers(whole.num(field) - 1, int((whole.row_group.total(used)[1:] > 0).sum()), missing)


def _missing(part: TextDataset, field: str) -> int:
    """Rows without a value."""
    if field in part.missing_rows:
        return _count(part, part.missing_rows[field].sum())
    if part.field2type[field] in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
        if field not in part.missing_ids:
            return 0
        lacking, (_, rows) = part.missing_ids[field], _column(part, field)
    else:
        values, rows = _column(part, field)
        lacking = (values == 0).reshape(len(values), math.prod(values.shape[1:])).all(dim=1)  # of no row as well
    return _count(part, (lacking if rows is None else lacking[rows]).sum())


def _column(part: TextDataset, field: str) -> tuple[Tensor, Tensor | None]:
    """The values of a field's table, and the place in it of each row; None if it has one value per row."""
    feat = part.field2feats(field)[0]
    if feat is part.inter_feat:
        return feat[field], None
    return feat[field], part.inter_feat[part.uid_field if feat is part.user_feat else part.iid_field]


def _timeline(parts: dict[str, TextDataset]) -> pd.DataFrame:
    times = {name: part.times.numpy() for name, part in parts.items() if part.times is not None}
    period = _period(parts.values())
    if period is None:
        return pd.DataFrame(columns=["part", "time", "rows", "positive"])
    edges = np.linspace(period[0], max(period[1], period[0] + 1), _INTERVALS + 1)
    tables = []
    for name, of_rows in times.items():
        label = (parts[name].inter_feat[parts[name].label_field] > 0).numpy()
        counts = [np.histogram(values, edges)[0] for values in (of_rows, of_rows[label])]
        rows, positive = parts[name].row_group.total(torch.from_numpy(np.stack(counts))).numpy()
        tables.append(pd.DataFrame({"part": name, "time": edges[:-1], "rows": rows, "positive": positive}))
    return pd.concat(tables, ignore_index=True)


def _frequency(train: TextDataset) -> pd.DataFrame:
    """Users and items by their number of training rows, in intervals that double."""
    lines = []
    for kind, field in (("user", train.uid_field), ("item", train.iid_field)):
        rows = _rows_by_id(train, field)[1:].numpy()
        place = np.where(rows > 0, np.log2(np.maximum(rows, 1)).astype(np.int64) + 1, 0)
        for number, count in enumerate(np.bincount(place)):
            low, high = (0, 0) if number == 0 else (2 ** (number - 1), 2**number - 1)
            lines.append({"kind": kind, "from": low, "to": high, "count": int(count)})
    return pd.DataFrame(lines)


def _capacity(train: TextDataset) -> dict[float, int]:
    """How many of the most frequent items cover a share of the training rows: the hit rate of a cache of them."""
    rows = np.sort(_rows_by_id(train, train.iid_field).numpy())[::-1].cumsum()
    return {share: int(np.searchsorted(rows, share * rows[-1])) + 1 for share in _SHARES}

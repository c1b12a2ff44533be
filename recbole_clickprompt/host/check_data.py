"""Rejects data that cannot be trained on, and warns about rows that are dropped."""

from __future__ import annotations

from logging import getLogger
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_clickprompt.errors import DataError, nearest
from recbole_clickprompt.preprocessing.scaling import extent_of

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

    from recbole_clickprompt.host.dataset import TextDataset

# Settings of RecBole that name fields
_RECBOLE_FIELD_SETTINGS = (
    "threshold", "normalize_field", "discretization", "numerical_features", "val_interval", "alias_of_user_id",
    "alias_of_item_id",
)  # fmt: skip

_LARGE = 100  # values of number features above this need scaling
_FLOAT32 = (float(np.finfo(np.float32).max), "unscaled numbers are stored as float32, which represents")
_SCALABLE = (1e300, "their mean and range are computed in float64, which is safe for")

__all__ = [
    "check_classes",
    "check_fields",
    "check_labels",
    "check_numbers",
    "check_rows",
    "check_times",
    "warn_dropped_rows",
    "warn_unscaled",
]


def check_fields(dataset: Dataset) -> None:
    """Raises DataError if a setting names a field that was not loaded, or one of an unsuitable kind."""
    for setting in (
        "text_fields",
        "whole_text_fields",
        "text_only_fields",
        "value_labels",
        "log_scale_fields",
        "list_separators",
        *_RECBOLE_FIELD_SETTINGS,
    ):
        for field in dataset.config[setting] or ():
            if field not in dataset.field2type:
                raise DataError(
                    f"{setting} names {field!r}, which the files of {dataset.dataset_name} do not contain or "
                    f"load_col leaves out; loaded are {', '.join(dataset.field2type)}"
                    f"{nearest(field, dataset.field2type)}"
                )
    _check_columns(dataset)
    _check_label_field(dataset)
    _check_text_only(dataset)
    for setting in ("numerical_features", "log_scale_fields"):
        for field in dataset.config[setting] or ():
            if dataset.field2type[field] not in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                raise DataError(f"{setting} names {field!r}, which is not a number field; leave it out")
    group = dataset.config["gauc_field"]
    if group is not None and dataset.field2type.get(group) is not FeatureType.TOKEN:
        raise DataError(
            f"gauc_field names {group!r}, which is not a loaded token field; those are "
            f"{', '.join(name for name, kind in dataset.field2type.items() if kind is FeatureType.TOKEN)}"
        )
    for field, values in (dataset.config["val_interval"] or {}).items():
        if (dataset.field2type[field] is FeatureType.FLOAT) is not isinstance(values, str):
            raise DataError(
                f"val_interval must contain an interval for a number field and a list of values for others, got "
                f"{values!r} for {field!r}"
            )
    for field in dataset.config["discretization"] or ():
        if field not in dataset.config["numerical_features"]:
            raise DataError(f"discretization names {field!r}, which is not in numerical_features; add it there")


def _check_columns(dataset: Dataset) -> None:
    """Raises DataError if a setting lists the columns of a file that there is not."""
    files = ["inter", "user", "item", *(dataset.config["additional_feat_suffix"] or ())]
    loaded = [source for source in files if getattr(dataset, f"{source}_feat", None) is not None]
    for setting, known in (("load_col", files), ("unload_col", files), ("unused_col", loaded)):
        for source in dataset.config[setting] or {}:
            if source not in known:
                raise DataError(
                    f"{setting} has the key {source!r}, which is no file of {dataset.dataset_name}; "
                    f"its keys can be {', '.join(known)}{nearest(source, known)}"
                )


def _check_text_only(dataset: Dataset) -> None:
    for field in dataset.config["text_only_fields"]:
        if dataset.field2type[field] is not FeatureType.TOKEN or field in (dataset.uid_field, dataset.iid_field):
            raise DataError(
                f"text_only_fields names {field!r}, which is an id or a number; it must be a token or token_seq "
                "field that is not an id"
            )
        if field not in (dataset.config["text_fields"] or ()):
            raise DataError(
                f"text_only_fields names {field!r}, which text_fields does not include, so nothing would read it; "
                "add it there, or leave it out with unload_col"
            )


def _check_label_field(dataset: Dataset) -> None:
    """Raises DataError if there are two labels, or the model would read the label as a feature."""
    label, threshold = dataset.label_field, dataset.config["threshold"] or {}
    if label in dataset.field2type and threshold and label not in threshold:
        raise DataError(
            f"both the field {label!r} (LABEL_FIELD) and threshold, on {next(iter(threshold))!r}, define labels; "
            f"keep one: remove threshold, or leave {label!r} out with load_col"
        )
    labels = {label: "which is the label", **dict.fromkeys(threshold, "from which threshold derives the label")}
    for setting in ("text_fields", "numerical_features", "normalize_field", "log_scale_fields", "discretization"):
        for field in dataset.config[setting] or ():
            if field in labels:
                raise DataError(f"{setting} names {field!r}, {labels[field]}; leave it out")


def check_numbers(dataset: TextDataset) -> None:
    """Raises DataError if a number field that is read or scaled has no numbers, or one too large to compute with.

    To be called before missing numbers are filled.
    """
    scaled = {
        *(dataset.config["normalize_field"] or ()),
        *(dataset.config["discretization"] or ()),
        *dataset.config["log_scale_fields"],
    }
    if dataset.config["normalize_all"]:
        scaled.update(dataset.float_like_fields)
    features = dataset.config["numerical_features"] or ()
    # Not all fields that normalize_all scales: those that no model reads may have no numbers
    for field in dict.fromkeys([*features, *(dataset.config["normalize_field"] or ())]):
        if dataset.field2type[field] not in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
            continue
        setting = "numerical_features" if field in features else "normalize_field"
        prefix, extent = f"{setting} names {field!r}", extent_of(dataset, field)
        path = dataset.origins[field].path
        if extent is None:
            raise DataError(f"{prefix}, but no row of {path} has a finite number in it; leave the field out")
        largest = max(reversed(extent), key=abs)
        limit, why = _SCALABLE if field in scaled else _FLOAT32
        if abs(largest) > limit:
            raise DataError(
                f"{prefix}, but it contains {largest:g} in {path}, and {why} at most {limit:.3g}; correct it, or "
                "leave the field out"
            )


def check_rows(dataset: TextDataset, problem: str) -> None:
    """Raises DataError if there are no rows; ``problem`` follows the data set's name in the message."""
    if not sum(dataset.row_group.all_gather(len(dataset.inter_feat))):
        raise DataError(f"{dataset.dataset_name} {problem}; add rows or relax the filters")


def warn_dropped_rows(dataset: TextDataset, before: pd.DataFrame) -> None:
    """Warns about rows that RecBole has dropped because their user or item is not in the user or item file.

    Args:
        dataset: The data set after filtering.
        before: Users and items of all rows before filtering.
    """
    dropped = before[~before.index.isin(dataset.inter_feat.index)]
    examples = dataset.row_group.all_gather([tuple(row) for row in dropped.head(1).to_numpy()])
    shares = dataset.row_group.all_gather((len(dropped), len(before)))
    number, rows = (sum(counts) for counts in zip(*shares, strict=True))
    if number:
        user, item = next(row for rows_of_process in examples for row in rows_of_process)
        getLogger().warning(
            f"{number} of {rows} rows of {dataset.dataset_name} are dropped because their user or item is "
            "not in the user or item file (filter_inter_by_user_or_item); the first has user "
            f"{user!r} and item {item!r}"
        )


def check_times(dataset: Dataset) -> None:
    """Raises DataError if rows are to be ordered by a time field that is missing."""
    if dataset.time_field not in dataset.inter_feat:
        raise DataError(
            f"eval_args orders by time, but {dataset.dataset_name} has no field {dataset.time_field!r}; "
            "add it to load_col, set TIME_FIELD, or use `order: RO`"
        )


def warn_unscaled(dataset: Dataset) -> None:
    """Warns about number features whose values, after scaling, are so large that they dominate all others."""
    for field in dataset.config["numerical_features"] or ():
        if field in (dataset.config["discretization"] or ()):
            continue
        low, high = extent_of(dataset, field) or (0.0, 0.0)
        if max(abs(low), abs(high)) > _LARGE:
            getLogger().warning(
                f"the feature {field} ranges from {low:g} to {high:g} and is not scaled, while "
                f"embeddings are below 1; set `normalize_field: [{field}]`, or training may diverge"
            )


def check_classes(dataset: TextDataset) -> None:
    """Raises DataError if all labels of a file are the same."""
    if dataset.config["threshold"] or dataset.label_field not in dataset.inter_feat:
        return
    column = dataset.inter_feat[dataset.label_field]
    shares = dataset.row_group.all_gather((len(column), set(column.unique())))
    labels = set().union(*(share[1] for share in shares))
    if len(labels) == 1:
        (value,) = labels
        kind, other = ("positive", "negative") if value > 0 else ("negative", "positive")
        raise DataError(
            f"all {sum(share[0] for share in shares)} rows of {dataset.dataset_name} are {kind} (their "
            f"{dataset.label_field} is {value:g}), but {other} rows are needed too, as none are sampled; add rows "
            f"whose {dataset.label_field} is {int(kind == 'negative')}"
        )


def check_labels(part: TextDataset, name: str) -> None:
    """Raises DataError if a part of the split, called ``name``, has no label or rows of one class only."""
    if part.label_field not in part.inter_feat:
        raise DataError(
            f"{part.dataset_name} has no field {part.label_field!r}; set `threshold`, or LABEL_FIELD and load_col"
        )
    label = part.inter_feat[part.label_field]
    shares = part.row_group.all_gather((int((label > 0).sum()), len(label)))
    positive, rows = (sum(values) for values in zip(*shares, strict=True))
    if not 0 < positive < rows:
        raise DataError(
            f"the {name} part of {part.dataset_name} must contain both classes, got {positive} positive and "
            f"{rows - positive} negative rows; change threshold, val_interval or eval_args.split"
        )

"""Refuses data that cannot be trained on, and tells what is left out of it."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_clickprompt.errors import DataError, nearest
from recbole_clickprompt.preprocessing.scaling import numbers_of

# RecBole's own
_OF_THE_HOST = (
    "threshold", "normalize_field", "discretization", "numerical_features", "val_interval", "alias_of_user_id",
    "alias_of_item_id",
)  # fmt: skip

_LARGE = 100  # of a number feature's values
_FLOAT32 = (float(np.finfo(np.float32).max), "unscaled numbers are float32, which holds")
_SCALABLE = (1e300, "the mean and the range of numbers are float64, which is safe with")

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


def check_fields(dataset: Any) -> None:
    """Raises DataError where a setting names a field that was not loaded."""
    for setting in ("text_fields", "whole_text_fields", "value_labels", *_OF_THE_HOST):
        for field in dataset.config[setting] or ():
            if field not in dataset.field2type:
                raise DataError(
                    f"{setting} names {field!r}, which the files of {dataset.dataset_name} do not hold or "
                    f"load_col leaves out; loaded are {', '.join(dataset.field2type)}"
                    f"{nearest(field, dataset.field2type)}"
                )
    _check_label_field(dataset)
    for field in dataset.config["numerical_features"] or ():
        if dataset.field2type[field] not in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
            raise DataError(f"numerical_features names {field!r}, which is no number field; leave it out")
    for field, values in (dataset.config["val_interval"] or {}).items():
        if (dataset.field2type[field] is FeatureType.FLOAT) is not isinstance(values, str):
            raise DataError(
                f"val_interval must hold an interval for a number field and a list of values for another, got "
                f"{values!r} for {field!r}"
            )
    for field in dataset.config["discretization"] or ():
        if field not in dataset.config["numerical_features"]:
            raise DataError(f"discretization names {field!r}, which numerical_features does not; add it there")


def _check_label_field(dataset: Any) -> None:
    """Raises DataError where there are two labels, or the model would read the label as a feature."""
    label, threshold = dataset.label_field, dataset.config["threshold"] or {}
    if label in dataset.field2type and threshold and label not in threshold:
        raise DataError(
            f"both the field {label!r} (LABEL_FIELD) and threshold, on {next(iter(threshold))!r}, give labels; "
            f"leave one out: remove threshold, or leave {label!r} out with load_col"
        )
    labels = {label: "which holds the label", **dict.fromkeys(threshold, "of which threshold makes the label")}
    for setting in ("text_fields", "numerical_features", "normalize_field", "discretization"):
        for field in dataset.config[setting] or ():
            if field in labels:
                raise DataError(f"{setting} names {field!r}, {labels[field]}; leave it out")


def check_numbers(dataset: Any) -> None:
    """Raises DataError where a number field that is read or scaled has no number, or one too large to reckon with.

    To be called before missing numbers are filled in.
    """
    scaled = {*(dataset.config["normalize_field"] or ()), *(dataset.config["discretization"] or ())}
    if dataset.config["normalize_all"]:
        scaled.update(dataset.float_like_fields)
    features = dataset.config["numerical_features"] or ()
    # all fields are scaled by normalize_all, and those that no model reads may be without numbers
    for field in dict.fromkeys([*features, *(dataset.config["normalize_field"] or ())]):
        if dataset.field2type[field] not in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
            continue
        setting = "numerical_features" if field in features else "normalize_field"
        place, numbers = f"{setting} names {field!r}", numbers_of(dataset, field)
        path = dataset.origins[field].path
        if not len(numbers):
            raise DataError(f"{place}, but no row of {path} has a finite number there; leave the field out")
        largest = numbers[np.abs(numbers).argmax()]
        limit, why = _SCALABLE if field in scaled else _FLOAT32
        if abs(largest) > limit:
            raise DataError(
                f"{place}, but {path} holds {largest:g} there, and {why} at most {limit:.3g}; correct it, or "
                "leave the field out"
            )


def check_rows(dataset: Any, why: str) -> None:
    """Raises DataError, which says ``why``, where there are no rows."""
    if dataset.inter_feat.empty:
        raise DataError(f"{dataset.dataset_name} {why}; give it rows or relax the filters")


def warn_dropped_rows(dataset: Any, before: pd.DataFrame) -> None:
    """Warns of rows whose user or item is in no user or item file, and which RecBole has left out for that.

    Args:
        dataset: RecBole's.
        before: Users and items of all rows.
    """
    left_out = len(before) - len(dataset.inter_feat)
    if left_out:
        user, item = before[~before.index.isin(dataset.inter_feat.index)].iloc[0]
        getLogger().warning(
            f"{left_out} of {len(before)} rows of {dataset.dataset_name} are left out: "
            "their user or item is not in the user or item file (filter_inter_by_user_or_item), first user "
            f"{user!r} or item {item!r}"
        )


def check_times(dataset: Any) -> None:
    """Raises DataError where rows without a time field are to be ordered by it."""
    if dataset.time_field not in dataset.inter_feat:
        raise DataError(
            f"eval_args orders by time, but {dataset.dataset_name} has no field {dataset.time_field!r}; "
            "add it to load_col, set TIME_FIELD, or use `order: RO`"
        )


def warn_unscaled(dataset: Any) -> None:
    """Warns of number features whose values, scaled as set, are so large that they drown all others."""
    for field in dataset.config["numerical_features"] or ():
        if field in (dataset.config["discretization"] or ()):
            continue
        values = numbers_of(dataset, field)
        if np.abs(values).max() > _LARGE:
            getLogger().warning(
                f"the feature {field} ranges from {values.min():g} to {values.max():g} and is not scaled, where "
                f"embeddings are below 1; set `normalize_field: [{field}]`, or training may diverge"
            )


def check_classes(dataset: Any) -> None:
    """Raises DataError where all labels of a file are the same."""
    if dataset.config["threshold"] or dataset.label_field not in dataset.inter_feat:
        return
    labels = dataset.inter_feat[dataset.label_field]
    if labels.nunique() == 1:
        kind, other = ("positive", "negative") if labels.iloc[0] > 0 else ("negative", "positive")
        raise DataError(
            f"all {len(labels)} rows of {dataset.dataset_name} are {kind} (their {dataset.label_field} is "
            f"{labels.iloc[0]:g}), but {other} rows are needed too, and none are sampled here; add rows whose "
            f"{dataset.label_field} is {int(kind == 'negative')}"
        )


def check_labels(part: Any, name: str) -> None:
    """Raises DataError where a part of the split, called ``name``, has no label or rows of one class only."""
    if part.label_field not in part.inter_feat:
        raise DataError(
            f"{part.dataset_name} has no field {part.label_field!r}; set `threshold`, or LABEL_FIELD and load_col"
        )
    label = part.inter_feat[part.label_field]
    positive = int((label > 0).sum())
    if not 0 < positive < len(label):
        raise DataError(
            f"the {name} part of {part.dataset_name} must hold both classes, got {positive} positive and "
            f"{len(label) - positive} negative rows; change threshold, val_interval or eval_args.split"
        )

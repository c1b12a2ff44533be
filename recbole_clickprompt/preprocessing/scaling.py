"""How RecBole scales number fields, recorded so that new rows can be scaled alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["Scale", "extent_of", "numbers_of", "observe_means", "signed_log", "with_bins", "with_ranges"]

Numbers = TypeVar("Numbers", np.ndarray, pd.Series)


@dataclass(frozen=True)
class Scale:
    """What ``log_scale_fields`` and RecBole's ``_fill_nan``, ``_normalize`` and ``_discretization`` do to a number
    field, in this order.

    Attributes:
        missing: Replaces missing numbers: the mean of the others, of their ``signed_log`` with ``log``.
        low: Minimum of the numbers if they are normalized to [0, 1], else None.
        high: Their maximum, likewise.
        bins: Number of bins of equal width between ``edges`` (method ``ED``), else None.
        edges: Lower and upper edge of all bins, after normalization.
        levels: Sorted levels of logarithmic bins (method ``LD``), else None.
    """

    missing: float
    low: float | None = None
    high: float | None = None
    bins: int | None = None
    edges: tuple[float, float] | None = None
    levels: tuple[float, ...] | None = None
    log: bool = False  # numbers are replaced by their ``signed_log`` first

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Fills and scales numbers, ``(N,)``, in which NaN means missing; values are not clipped to [0, 1]."""
        values = signed_log(values) if self.log else values
        return self.normalized(np.where(np.isnan(values), self.missing, values))

    def normalized(self, filled: np.ndarray) -> np.ndarray:
        """The last step of ``scaled``, of numbers without missing ones, ``(N,)``."""
        if self.low is None or self.high is None:
            return filled
        return (filled - self.low) / (self.high - self.low) if self.high > self.low else np.ones_like(filled)

    def feature(self, values: np.ndarray) -> np.ndarray:
        """Numbers as a numerical feature, ``(N, 2)``: a factor and the embedding row that it multiplies."""
        return self.binned(self.scaled(values))

    def binned(self, scaled: np.ndarray) -> np.ndarray:
        """The last step of ``feature``, of scaled numbers, ``(N,)``."""
        if self.edges is not None and self.bins is not None:
            low, high = self.edges
            index = np.floor((scaled - low) * self.bins / (high - low) + 1) if high > low else self.bins
            index = np.clip(index, 1, self.bins)  # numbers outside the training range are in the outermost bins
        elif self.levels is not None:
            levels = np.asarray(self.levels)
            index = np.searchsorted(levels, _logarithmic(scaled)).clip(max=len(levels) - 1)
        else:
            return np.stack([scaled, np.ones_like(scaled)], axis=-1)
        return np.stack(np.broadcast_arrays(1.0, index), axis=-1)


def signed_log(numbers: Numbers) -> Numbers:
    """sign(x)·log(1 + |x|): keeps the order and the sign, and spreads numbers of very different size."""
    return np.sign(numbers) * np.log1p(np.abs(numbers))


def observe_means(dataset: Dataset) -> dict[str, Scale]:
    """The scale of each number field with its mean; to be called before missing numbers are filled.

    The mean is 0 for sequences, which have no missing numbers.
    """
    logarithmic = dataset.config["log_scale_fields"]
    return {
        field: Scale(
            missing=_mean(dataset, field) if dataset.field2type[field] is FeatureType.FLOAT else 0.0,
            log=field in logarithmic,
        )
        for field in dataset.float_like_fields
    }


def _mean(dataset: Dataset, field: str) -> float:
    feat = dataset.field2feats(field)[0]
    numbers = feat[field]
    if feat is not dataset.inter_feat or dataset.row_group.world == 1:
        return float(numbers.mean())
    shares = dataset.row_group.all_gather((float(numbers.sum()), int(numbers.count())))
    total, count = (sum(values) for values in zip(*shares, strict=True))
    return total / count if count else math.nan


def extent_of(dataset: Dataset, field: str) -> tuple[float, float] | None:
    """Least and greatest number of a number field in the rows of all processes; None if there is no number."""
    numbers = numbers_of(dataset, field)
    own = (float(numbers.min()), float(numbers.max())) if len(numbers) else None
    found = [extent for extent in dataset.row_group.all_gather(own) if extent is not None]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def with_ranges(scales: Mapping[str, Scale], dataset: Dataset) -> dict[str, Scale]:
    """Adds ``low`` and ``high`` for the fields that are about to be normalized."""
    found = dict(scales)
    normalized = dataset.config["normalize_field"] or (
        dataset.config["normalize_all"] and dataset.float_like_fields
    )
    for field in _scaled_fields(scales, dataset, normalized or ()):
        if field != dataset.label_field and (extent := extent_of(dataset, field)) is not None:
            found[field] = replace(found[field], low=extent[0], high=extent[1])
    return found


def with_bins(scales: Mapping[str, Scale], dataset: Dataset) -> dict[str, Scale]:
    """Adds the bins of the fields that are about to be discretized."""
    found, how = dict(scales), dataset.config["discretization"] or {}
    for field in _scaled_fields(scales, dataset, how):
        numbers = numbers_of(dataset, field)
        if not len(numbers):
            continue
        if how[field]["method"] == "ED":
            edges = (float(numbers.min()), float(numbers.max()) + 1e-9)
            found[field] = replace(found[field], bins=how[field]["bucket"], edges=edges)
        elif how[field]["method"] == "LD":
            found[field] = replace(found[field], levels=tuple(map(float, np.unique(_logarithmic(numbers)))))
    return found


def numbers_of(dataset: Dataset, field: str) -> np.ndarray:
    """All numbers of a number field that are not missing, with sequences concatenated, ``(N,)``."""
    values = dataset.field2feats(field)[0][field].dropna()
    if dataset.field2type[field] is FeatureType.FLOAT:
        return values.to_numpy()
    return np.concatenate([np.zeros(0), *values])


def _scaled_fields(scales: Mapping[str, Scale], dataset: Dataset, fields: Iterable[str]) -> list[str]:
    # After observe_means, a threshold may have replaced a rating field by a label, which has no scale
    return [field for field in fields if field in scales and field in dataset.float_like_fields]


def _logarithmic(numbers: np.ndarray) -> np.ndarray:
    large = numbers > 2
    return np.where(large, np.floor(np.log(numbers * large + 1e-9) ** 2 + 1), numbers)

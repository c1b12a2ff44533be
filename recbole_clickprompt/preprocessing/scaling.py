"""How RecBole turns a number field into what the model reads, kept so that new rows are treated alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from recbole.utils import FeatureType

__all__ = ["Scale", "numbers_of", "observe_means", "with_bins", "with_ranges"]


@dataclass(frozen=True)
class Scale:
    """The treatment of a number field by RecBole's ``_fill_nan``, ``_normalize`` and ``_discretization``.

    Attributes:
        missing: What stands for a missing number: the mean of the others.
        low: The smallest number where the field is normalised to [0, 1], else None.
        high: The largest one.
        bins: Number of bins of equal width between ``edges`` where the field is discretised so (``ED``).
        edges: Lower and upper edge of all bins, after normalisation.
        levels: Sorted levels of logarithmic bins (``LD``).
    """

    missing: float
    low: float | None = None
    high: float | None = None
    bins: int | None = None
    edges: tuple[float, float] | None = None
    levels: tuple[float, ...] | None = None

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Numbers with NaN for missing ones, ``(N,)``, as RecBole keeps them; beyond ``low`` and ``high`` too."""
        filled = np.where(np.isnan(values), self.missing, values)
        if self.low is None or self.high is None:
            return filled
        return (filled - self.low) / (self.high - self.low) if self.high > self.low else np.ones_like(filled)

    def feature(self, values: np.ndarray) -> np.ndarray:
        """Numbers as a numerical feature: ``(N, 2)``, a factor and the row of the embedding table."""
        scaled = self.scaled(values)
        if self.edges is not None and self.bins is not None:
            low, high = self.edges
            index = np.floor((scaled - low) * self.bins / (high - low) + 1) if high > low else self.bins
            index = np.clip(index, 1, self.bins)  # a number outside the training's range is in the outmost bin
        elif self.levels is not None:
            levels = np.asarray(self.levels)
            index = np.searchsorted(levels, _logarithmic(scaled)).clip(max=len(levels) - 1)
        else:
            return np.stack([scaled, np.ones_like(scaled)], axis=-1)
        return np.stack(np.broadcast_arrays(1.0, index), axis=-1)


def observe_means(dataset: Any) -> dict[str, Scale]:
    """The mean of each number field, before missing numbers are filled. Sequences have none."""
    return {
        field: Scale(missing=float(dataset.field2feats(field)[0][field].mean()))
        if dataset.field2type[field] is FeatureType.FLOAT
        else Scale(missing=0.0)
        for field in dataset.float_like_fields
    }


def with_ranges(scales: Mapping[str, Scale], dataset: Any) -> dict[str, Scale]:
    """The scales with ``low`` and ``high`` of the fields that are about to be normalised."""
    found = dict(scales)
    named = dataset.config["normalize_field"] or (dataset.config["normalize_all"] and dataset.float_like_fields)
    for field, numbers in _numbers(
        scales, dataset, [field for field in named or () if field != dataset.label_field]
    ):
        found[field] = replace(found[field], low=float(numbers.min()), high=float(numbers.max()))
    return found


def with_bins(scales: Mapping[str, Scale], dataset: Any) -> dict[str, Scale]:
    """The scales with the bins of the fields that are about to be discretised."""
    found, how = dict(scales), dataset.config["discretization"] or {}
    for field, numbers in _numbers(scales, dataset, how):
        if how[field]["method"] == "ED":
            edges = (float(numbers.min()), float(numbers.max()) + 1e-9)
            found[field] = replace(found[field], bins=how[field]["bucket"], edges=edges)
        elif how[field]["method"] == "LD":
            found[field] = replace(found[field], levels=tuple(map(float, np.unique(_logarithmic(numbers)))))
    return found


def numbers_of(dataset: Any, field: str) -> np.ndarray:
    """All numbers of a number field that are not missing, those of sequences one after the other, ``(N,)``."""
    values = dataset.field2feats(field)[0][field].dropna()
    if dataset.field2type[field] is FeatureType.FLOAT:
        return values.to_numpy()
    return np.concatenate([np.zeros(0), *values])


def _numbers(scales: Mapping[str, Scale], dataset: Any, fields: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    # Since the scales were observed a threshold may have taken a rating away, and made a label that has none
    for field in fields:
        if field not in scales or field not in dataset.float_like_fields:
            continue
        numbers = numbers_of(dataset, field)
        if len(numbers):
            yield field, numbers


def _logarithmic(numbers: np.ndarray) -> np.ndarray:
    large = numbers > 2
    return np.where(large, np.floor(np.log(numbers * large + 1e-9) ** 2 + 1), numbers)

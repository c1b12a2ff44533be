"""Is one run better than another on the same rows: DeLong's test, and the bootstrap of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm, rankdata
from tqdm import tqdm

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.metrics import row_losses

__all__ = ["Bootstrap", "DeLong", "bootstrap", "delong_test", "interval", "interval_of", "two_sided"]


class DeLong(NamedTuple):
    """DeLong's test of two AUCs on the same rows.

    Attributes:
        auc_a: Of the first scores; ``auc_b``: of the second.
        difference: ``auc_a - auc_b``.
        standard_error: Of the difference.
        p: Two-sided. 1 if the runs order all rows alike; nan where the difference has no spread.
    """

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    p: float


def delong_test(label: Any, score_a: Any, score_b: Any) -> DeLong:
    """Tests whether two AUCs on the same rows differ (DeLong et al., Biometrics 1988).

    In O(n log n) by mid-ranks (Sun and Xu, IEEE SPL 2014). Rows are taken as independent.

    Raises:
        DataError: A class has fewer than two rows.
    """
    positive = np.asarray(label) > 0
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise DataError(f"DeLong's test needs two rows of each class, got {m} positive and {n} negative ones")
    # Per positive row, the share of negative rows below it, ties half; and the mirror image
    of_positive, of_negative = np.empty((2, m)), np.empty((2, n))
    for run, score in enumerate((score_a, score_b)):
        score = np.asarray(score, dtype=np.float64)
        overall = rankdata(score)
        of_positive[run] = (overall[positive] - rankdata(score[positive])) / n
        of_negative[run] = 1 - (overall[~positive] - rankdata(score[~positive])) / m
    auc_a, auc_b = of_positive.mean(axis=1)
    covariance = np.cov(of_positive) / m + np.cov(of_negative) / n
    contrast = np.array([1.0, -1.0])
    error = float(np.sqrt(max(contrast @ covariance @ contrast, 0.0)))
    difference = float(auc_a - auc_b)
    # A spread of rounding errors alone is none
    if error < 1e-12:
        p = 1.0 if abs(difference) < 1e-12 else float("nan")
        error = 0.0
    else:
        p = float(2 * norm.sf(abs(difference) / error))
    return DeLong(float(auc_a), float(auc_b), difference, error, p)


class Bootstrap(NamedTuple):
    """Metrics of resampled rows, ``(samples, R)`` for R runs; every run sees the same resamples.

    AUC is nan for a resample that drew one class alone.
    """

    auc: np.ndarray
    logloss: np.ndarray


def bootstrap(label: Any, scores: Sequence[Any], *, samples: int, seed: int) -> Bootstrap:
    """Draws rows with replacement, as many as there are, and measures all runs on each draw.

    scipy's bootstrap would sort all rows again for each draw and run; here each run is sorted once, and a draw is
    a weight a row.

    Args:
        label: 0 or 1, ``(rows,)``.
        scores: Of each run, ``(rows,)``.
        samples: Draws.
        seed: Equal seeds give equal draws.
    """
    label = np.asarray(label) > 0
    areas = [_WeightedAUC(label, np.asarray(score)) for score in scores]
    losses = np.stack([row_losses(label, score) for score in scores])
    auc, logloss = np.empty((samples, len(scores))), np.empty((samples, len(scores)))
    draws = tqdm(_draws(len(label), samples, seed), total=samples, desc="bootstrap", leave=False, disable=None)
    for draw, weights in enumerate(draws):
        auc[draw] = [area(weights) for area in areas]
        logloss[draw] = losses @ weights / len(label)
    return Bootstrap(auc, logloss)


def _draws(rows: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(random.integers(rows, size=rows), minlength=rows).astype(np.float64)


class _WeightedAUC:
    """AUC of fixed scores under changing row weights."""

    def __init__(self, label: np.ndarray, score: np.ndarray) -> None:
        self.order = np.argsort(score, kind="stable")
        self.positive = label[self.order]
        ordered = score[self.order]
        # Where each run of equal scores begins
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def __call__(self, weights: np.ndarray) -> float:
        weights = weights[self.order]
        positive = np.where(self.positive, weights, 0.0)
        negative = weights - positive
        if len(self.starts) < len(weights):
            positive, negative = np.add.reduceat(positive, self.starts), np.add.reduceat(negative, self.starts)
        pairs = positive.sum() * negative.sum()
        if not pairs:
            return float("nan")
        return float(positive @ (negative.cumsum() - negative / 2) / pairs)


def interval(values: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrapped values, those that are nan left out; nan where all are."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def interval_of(name: str, values: np.ndarray, *, confidence: float) -> dict[str, float]:
    """The interval as two columns of a table, ``NAME_low`` and ``NAME_high``."""
    low, high = interval(values, confidence=confidence)
    return {f"{name}_low": low, f"{name}_high": high}


def two_sided(differences: np.ndarray) -> float:
    """Two-sided p of bootstrapped differences: twice the smaller share at or beyond 0, never 0 by itself."""
    differences = differences[~np.isnan(differences)]
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(differences) + 1)))

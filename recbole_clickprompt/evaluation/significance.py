"""Significance of differences between runs on the same rows: DeLong's test, the bootstrap, Holm's correction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, rankdata
from tqdm import tqdm

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.metrics import Column, row_losses

__all__ = ["Bootstrap", "DeLong", "bootstrap", "delong_test", "holm", "interval", "interval_of", "two_sided"]


class DeLong(NamedTuple):
    """DeLong's test of two AUCs on the same rows.

    Attributes:
        auc_a: AUC of the first scores.
        auc_b: AUC of the second scores.
        difference: ``auc_a - auc_b``.
        standard_error: Standard error of the difference.
        p: Two-sided p-value. 1 if both rank all rows alike; nan if a nonzero difference has no variance.
    """

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    p: float


def delong_test(label: Column, score_a: Column, score_b: Column) -> DeLong:
    """Tests whether two AUCs on the same rows differ (DeLong et al., Biometrics 1988).

    In O(n log n) by mid-ranks (Sun and Xu, IEEE SPL 2014). Assumes independent rows.

    Raises:
        DataError: A class has fewer than two rows.
    """
    positive = np.asarray(label) > 0
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise DataError(f"DeLong's test needs two rows of each class, got {m} positive and {n} negative rows")
    # For each positive row the share of negative rows ranked below it (ties count half), and vice versa
    positive_shares, negative_shares = np.empty((2, m)), np.empty((2, n))
    for run, score in enumerate((score_a, score_b)):
        score = np.asarray(score, dtype=np.float64)
        overall = rankdata(score)
        positive_shares[run] = (overall[positive] - rankdata(score[positive])) / n
        negative_shares[run] = 1 - (overall[~positive] - rankdata(score[~positive])) / m
    auc_a, auc_b = positive_shares.mean(axis=1)
    covariance = np.cov(positive_shares) / m + np.cov(negative_shares) / n
    contrast = np.array([1.0, -1.0])
    error = float(np.sqrt(max(contrast @ covariance @ contrast, 0.0)))
    difference = float(auc_a - auc_b)
    # A standard error this small is only rounding
    if error < 1e-12:
        p = 1.0 if abs(difference) < 1e-12 else float("nan")
        error = 0.0
    else:
        p = float(2 * norm.sf(abs(difference) / error))
    return DeLong(float(auc_a), float(auc_b), difference, error, p)


class Bootstrap(NamedTuple):
    """Metrics of resampled rows, ``(samples, R)`` for R runs, all on the same resamples.

    AUC is nan for a resample that has only one class.
    """

    auc: np.ndarray
    logloss: np.ndarray


def bootstrap(
    label: Column, scores: Sequence[Column], *, samples: int, seed: int, clusters: Column | None = None
) -> Bootstrap:
    """Resamples the rows with replacement, or whole clusters of rows, and measures all runs on each resample.

    scipy's bootstrap would sort all rows for each draw and run; here each run is sorted once, and a draw is a
    weight per row.

    Args:
        label: 0 or 1, ``(rows,)``.
        scores: Scores of each run, ``(rows,)``.
        samples: Number of draws.
        seed: Seed of the draws.
        clusters: What each row belongs to, such as its user, ``(rows,)``. As many clusters as there are are drawn,
            each with all of its rows, which need not be independent. None: each row is a cluster.
    """
    label = np.asarray(label) > 0
    cluster = np.arange(len(label)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    areas = [_WeightedAUC(label, np.asarray(score)) for score in scores]
    losses = np.stack([row_losses(label, score) for score in scores])
    auc, logloss = np.empty((samples, len(scores))), np.empty((samples, len(scores)))
    draws = tqdm(_draws(cluster, samples, seed), total=samples, desc="bootstrap", leave=False, disable=None)
    for draw, weights in enumerate(draws):
        auc[draw] = [area(weights) for area in areas]
        logloss[draw] = losses @ weights / weights.sum()
    return Bootstrap(auc, logloss)


def _draws(cluster: np.ndarray, samples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, ``(rows,)``; ``cluster`` is the number of each row's cluster, from 0."""
    random, count = np.random.default_rng(seed), int(cluster.max(initial=-1)) + 1
    for _ in range(samples):
        drawn = np.bincount(random.integers(count, size=count), minlength=count)
        yield drawn[cluster].astype(np.float64)


class _WeightedAUC:
    """AUC of fixed scores under changing row weights."""

    def __init__(self, label: np.ndarray, score: np.ndarray) -> None:
        self.order = np.argsort(score, kind="stable")
        self.positive = label[self.order]
        ordered = score[self.order]
        # Start of each group of equal scores
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
    """Percentile interval of bootstrapped values without nan; nan if all values are."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def interval_of(name: str, values: np.ndarray, *, confidence: float) -> dict[str, float]:
    """``interval`` as two columns of a table, ``NAME_low`` and ``NAME_high``."""
    low, high = interval(values, confidence=confidence)
    return {f"{name}_low": low, f"{name}_high": high}


def two_sided(differences: np.ndarray) -> float:
    """Two-sided p-value of bootstrapped differences: twice the smaller share on one side of 0.

    One draw is added to both counts, so that the result is never 0.
    """
    differences = differences[~np.isnan(differences)]
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(differences) + 1)))


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values of a family of tests, adjusted so that any false rejection is as rare as the level says.

    Holm (Scandinavian Journal of Statistics 1979); valid for tests that depend on each other.

    Args:
        p: Of m tests; nan for one that was not made, which is not part of the family.

    Returns:
        ``(m,)``: reject where they are below the level.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # nan is sorted last
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1.0)
    return adjusted

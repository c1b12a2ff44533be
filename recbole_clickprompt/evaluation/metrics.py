"""Metrics of scores against labels, in addition to those that RecBole reports.

All take arrays of equal length, ``(rows,)``: ``label`` of 0 and 1, and ``score`` from 0 to 1. Metrics that need
rows of both classes are nan if there is only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import DataError

__all__ = [
    "Column",
    "auc",
    "calibration",
    "expected_calibration_error",
    "gauc",
    "log_loss",
    "measure",
    "predicted_over_observed",
    "rela_impr",
    "relative_auc",
    "row_losses",
]


# Values of all rows, ``(rows,)``
Column: TypeAlias = np.ndarray | pd.Series | Sequence[float] | Sequence[str]


def auc(label: Column, score: Column) -> float:
    """Area under the ROC curve; ties count half."""
    from sklearn.metrics import roc_auc_score

    label = np.asarray(label)
    return float(roc_auc_score(label, score)) if 0 < label.sum() < len(label) else float("nan")


def row_losses(label: Column, score: Column) -> np.ndarray:
    """Binary cross entropy of each row, in nats; scores are clipped by float64's precision."""
    margin = np.finfo(np.float64).eps
    score = np.clip(np.asarray(score, dtype=np.float64), margin, 1 - margin)
    return -np.where(np.asarray(label) > 0, np.log(score), np.log1p(-score))


def log_loss(label: Column, score: Column) -> float:
    """Mean binary cross entropy, in nats; also defined for one class. Nan without rows."""
    from sklearn.metrics import log_loss as sklearn_log_loss

    return (
        float(sklearn_log_loss(label, np.asarray(score, dtype=np.float64), labels=[0, 1]))
        if len(label)
        else np.nan
    )


def gauc(user: Column, label: Column, score: Column) -> float:
    """AUC within users, averaged with their number of rows as weights; users of one class are left out.

    This is GAUC weighted by impressions (Zhu et al., KDD 2017, Eq. 7). Nan if no user has both classes.
    """
    users = pd.factorize(np.asarray(user))[0]  # -1 for a missing one
    label, score = np.asarray(label) > 0, np.asarray(score)
    order = np.lexsort((score, users))
    order = order[users[order] >= 0]
    users, label, score = users[order], label[order], score[order]
    starts = np.diff(users, prepend=-1) > 0
    # Ranks within users, in which equal scores share the mean of theirs
    equal = np.cumsum(starts | (np.diff(score, prepend=np.nan) != 0)) - 1
    places = np.bincount(equal, np.arange(len(users))) / np.bincount(equal)
    ranks = places[equal] - np.flatnonzero(starts)[users] + 1
    # Sum of the ranks of the positive rows (Mann-Whitney U), for all users at once
    rows, positive, sums = np.bincount(users), np.bincount(users, label), np.bincount(users, ranks * label)
    mixed = (positive > 0) & (positive < rows)
    if not mixed.any():
        return float("nan")
    rows, positive, sums = rows[mixed], positive[mixed], sums[mixed]
    within = (sums - positive * (positive + 1) / 2) / (positive * (rows - positive))
    return float(np.average(within, weights=rows))


def calibration(label: Column, score: Column, *, bins: int = 15) -> pd.DataFrame:
    """Rows by score, in bins of equal width; the last bin includes a score of 1.

    Returns:
        One line per bin that has rows: its edges ``low`` and ``high``, ``rows``, ``predicted`` (mean score) and
        ``observed`` (share of positive rows).
    """
    label, score = np.asarray(label) > 0, np.asarray(score, dtype=np.float64)
    number = np.minimum((score * bins).astype(np.int64), bins - 1)
    rows = np.bincount(number, minlength=bins)
    used = rows > 0
    return pd.DataFrame(
        {
            "low": np.arange(bins)[used] / bins,
            "high": np.arange(1, bins + 1)[used] / bins,
            "rows": rows[used],
            "predicted": np.bincount(number, weights=score, minlength=bins)[used] / rows[used],
            "observed": np.bincount(number, weights=label, minlength=bins)[used] / rows[used],
        }
    )


def expected_calibration_error(label: Column, score: Column, *, bins: int = 15) -> float:
    """ECE: mean distance between mean score and share of positive rows in bins of equal width, weighted by rows.

    Guo et al., ICML 2017. Nan without rows.
    """
    table = calibration(label, score, bins=bins)
    if table.empty:
        return float("nan")
    return float(np.average((table["predicted"] - table["observed"]).abs(), weights=table["rows"]))


def predicted_over_observed(label: Column, score: Column) -> float:
    """Sum of scores divided by number of positive rows: above 1 if scores are too high. Nan without such rows."""
    positive = float(np.sum(label))
    return float(np.sum(score)) / positive if positive else float("nan")


def relative_auc(value: float, base: float) -> float:
    """``value / base - 1``, the relative improvement in the ClickPrompt paper. Nan for a base of 0."""
    return value / base - 1 if base else float("nan")


def rela_impr(value: float, base: float) -> float:
    """``(value - 0.5) / (base - 0.5) - 1``, RelaImpr (Yan et al., 2014). Nan for a base up to 0.5."""
    return (value - 0.5) / (base - 0.5) - 1 if base > 0.5 else float("nan")


def measure(table: pd.DataFrame, *, bins: int = 15) -> dict[str, float]:
    """All metrics of predictions.

    Args:
        table: Has columns ``user``, ``label`` and ``score``.
        bins: Bins of the expected calibration error.

    Returns:
        ``rows``, ``positive_rate``, ``auc``, ``logloss``, ``gauc``, ``ece``, ``predicted_over_observed``.

    Raises:
        DataError: There are no rows, or a score is not from 0 to 1.
    """
    label, score = table["label"].to_numpy(), table["score"].to_numpy()
    if not len(table):
        raise DataError("there are no rows to measure")
    if not ((score >= 0) & (score <= 1)).all():
        raise DataError(f"scores must be numbers from 0 to 1, got some from {score.min()} to {score.max()}")
    return {
        "rows": len(table),
        "positive_rate": float(label.mean()),
        "auc": auc(label, score),
        "logloss": log_loss(label, score),
        "gauc": gauc(table["user"], label, score),
        "ece": expected_calibration_error(label, score, bins=bins),
        "predicted_over_observed": predicted_over_observed(label, score),
    }

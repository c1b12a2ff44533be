"""Fits the trivial baselines of ``evaluation/baselines.py`` on training rows, once per data set and split."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.evaluation.baselines import BASELINES
from recbole_clickprompt.evaluation.metrics import auc
from recbole_clickprompt.tensor_cache import TensorCache
from recbole_clickprompt.trainer.fingerprint import rows_hash
from recbole_clickprompt.trainer.one_hot import feature_fields, one_hot

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["baseline_scores", "fit_logistic_regression", "smoothed_means"]

_CACHE = TensorCache("clickprompt-baselines-1", "file of baselines", "it is computed again")
_PRIOR_ROWS = 10  # a mean is smoothed by this many rows with the mean label of all training rows
_STRENGTHS = (0.1, 0.3, 1.0)  # values of C, from which the validation rows select
_MOST_ROWS = 2_000_000  # training rows of the logistic regression, which takes about a minute for each million
_SEED = 2020


def baseline_scores(
    folder: Path, train: Dataset, parts: Mapping[str, Dataset], *, name: str
) -> dict[str, pd.DataFrame]:
    """The scores of the baselines, from a file if a run on the same rows has computed them before.

    Args:
        folder: The folder of the file.
        train: The rows that the model was finetuned on.
        parts: The rows to score, by part. Those of ``valid`` select the regularization of the logistic regression.
        name: The name of the data set, part of the file's name.

    Returns:
        By part: a column of scores for each baseline, named as in the predictions, ``(rows,)`` float64.

    Raises:
        StorageError: The file cannot be written.
    """
    fields = [*feature_fields(train), train.uid_field, train.iid_field, train.label_field]  # not the history
    digest = hashlib.sha256(repr(fields).encode())
    for part, dataset in {"train": train, **parts}.items():
        digest.update(f"{part} {rows_hash(dataset, fields)}".encode())
    path = folder / f"{name}-{digest.hexdigest()[:16]}.baselines"
    if path.is_file():
        try:
            return {
                part: pd.DataFrame(scores.numpy(), columns=list(BASELINES.values()))
                for part, scores in _CACHE.read(path)[1].items()
            }
        except WeightsError as error:
            getLogger().warning(str(error))
    start = time.monotonic()
    scores = _compute(train, parts)
    _CACHE.write(path, {part: torch.tensor(table.to_numpy()).contiguous() for part, table in scores.items()})
    getLogger().info(f"baselines computed in {time.monotonic() - start:.1f} s and saved: {path}")
    return scores


def _compute(train: Dataset, parts: Mapping[str, Dataset]) -> dict[str, pd.DataFrame]:
    label = _labels(train)
    fields = feature_fields(train)
    rows = {part: one_hot(dataset, fields) for part, dataset in parts.items()}
    drawn: np.ndarray | slice = slice(None)
    if len(label) > _MOST_ROWS:
        drawn = np.sort(np.random.default_rng(_SEED).permutation(len(label))[:_MOST_ROWS])
        getLogger().info(
            f"baselines: the logistic regression is fitted on {_MOST_ROWS:,} of {len(label):,} training rows"
        )
    valid = (rows["valid"], _labels(parts["valid"])) if "valid" in parts else None
    regression = fit_logistic_regression((one_hot(train, fields)[drawn], label[drawn]), valid, rows)
    return {
        part: pd.DataFrame(
            dict(
                zip(
                    BASELINES.values(),
                    (
                        smoothed_means(_ids(train, train.iid_field), label, _ids(dataset, train.iid_field)),
                        smoothed_means(_ids(train, train.uid_field), label, _ids(dataset, train.uid_field)),
                        regression[part],
                    ),
                    strict=True,
                )
            )
        )
        for part, dataset in parts.items()
    }


def smoothed_means(ids: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The mean label of an id in the training rows, as if it had ten more rows with the mean label of all.

    Args:
        ids: Ids of the training rows, ``(rows,)``.
        label: Their labels, 0 or 1.
        asked: Ids to score, ``(N,)``; one without training rows gets the mean of all labels.
    """
    size = int(max(ids.max(), asked.max())) + 1
    mean = label.mean()
    positive, count = np.bincount(ids, weights=label, minlength=size), np.bincount(ids, minlength=size)
    return ((positive + _PRIOR_ROWS * mean) / (count + _PRIOR_ROWS))[asked]


def fit_logistic_regression(
    train: tuple[csr_matrix, np.ndarray],
    valid: tuple[csr_matrix, np.ndarray] | None,
    rows: Mapping[str, csr_matrix],
) -> dict[str, np.ndarray]:
    """scikit-learn's logistic regression; numbers are divided by their largest absolute value in training.

    Args:
        train: Features and labels of the training rows.
        valid: Those of the validation rows, whose AUC selects C among 0.1, 0.3 and 1. None: C is 1.
        rows: Features of the rows to score, by part.

    Returns:
        Scores by part, ``(rows,)``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MaxAbsScaler

    if train[1].min() == train[1].max():  # a small sample of the training rows
        return {part: np.full(matrix.shape[0], float(train[1][0])) for part, matrix in rows.items()}
    scaler = MaxAbsScaler().fit(train[0])
    features = scaler.transform(train[0])
    checked = None if valid is None else scaler.transform(valid[0])
    best, model = 0.0, None
    for strength in _STRENGTHS if valid is not None else _STRENGTHS[-1:]:
        candidate = LogisticRegression(C=strength, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline need not be exact
            candidate.fit(features, train[1])
        found = 0.0 if valid is None else auc(valid[1], candidate.predict_proba(checked)[:, 1])
        if model is None or found > best:
            best, model = found, candidate
    assert model is not None
    return {part: model.predict_proba(scaler.transform(matrix))[:, 1] for part, matrix in rows.items()}


def _labels(dataset: Dataset) -> np.ndarray:
    return (dataset.inter_feat[dataset.label_field] > 0).numpy().astype(np.int8)


def _ids(dataset: Dataset, field: str) -> np.ndarray:
    return dataset.inter_feat[field].numpy()

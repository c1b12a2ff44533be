"""Metrics on subsets of the test rows, by the frequency of user and item in training (ClickPrompt, Table 6).

- *unseen*: without any training row.
- *tail*: of the users (or items) with training rows, the share with the fewest, 10 % in the paper; ties are broken
  by token, so that the share is exact (rounded down).
- *head*: the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.comparison import check_baseline, check_same_rows
from recbole_clickprompt.evaluation.metrics import auc, log_loss, relative_auc
from recbole_clickprompt.evaluation.significance import bootstrap, interval_of

__all__ = ["by_bins", "by_tail", "compare_subsets", "tail_tokens", "training_rows_of"]


def tail_tokens(counts: pd.Series, *, share: float = 0.1) -> set[str]:
    """The tokens with the fewest training rows.

    Args:
        counts: Number of training rows, 1 or more, indexed by token.
        share: Share of the tokens that is returned, rounded down.
    """
    order = np.lexsort((counts.index.to_numpy(dtype=str), counts.to_numpy(dtype=np.int64)))
    return set(counts.index[order[: int(share * len(counts) + 1e-9)]])


def training_rows_of(table: pd.DataFrame, counts: pd.DataFrame, kind: str) -> np.ndarray:
    """The number of training rows of each row's user or item, ``(rows,)``; 0 if unseen.

    Args:
        table: Predictions, with a column named like ``kind``.
        counts: The result of ``RunFolder.train_counts``.
        kind: ``user`` or ``item``.
    """
    return table[kind].map(_counts_by_token(counts, kind)).fillna(0).to_numpy(dtype=np.int64)


def by_tail(
    table: pd.DataFrame, counts: pd.DataFrame, *, share: float = 0.1, unseen_is_tail: bool = False
) -> dict[str, np.ndarray]:
    """Masks, ``(rows,)``, of the four subsets of the paper and of the rows with an unseen user or item.

    Args:
        table: Predictions.
        counts: The result of ``RunFolder.train_counts``.
        share: Share of users (and of items) that is the tail.
        unseen_is_tail: Count unseen users and items as tail, so that the four subsets hold all rows.
    """
    groups = {}
    for kind in ("user", "item"):
        trained = training_rows_of(table, counts, kind)
        tail = table[kind].isin(tail_tokens(_counts_by_token(counts, kind), share=share)).to_numpy()
        unseen = trained == 0
        groups[kind] = {"tail": tail | unseen, "head": ~tail & ~unseen} if unseen_is_tail else {
            "tail": tail, "head": ~tail & ~unseen, "unseen": unseen,
        }  # fmt: skip
    users, items = groups["user"], groups["item"]
    subsets = {
        f"{user} user, {item} item": users[user] & items[item]
        for user, item in (("tail", "tail"), ("head", "tail"), ("tail", "head"), ("head", "head"))
    }
    if not unseen_is_tail:
        subsets |= {
            "unseen user, seen item": users["unseen"] & ~items["unseen"],
            "seen user, unseen item": ~users["unseen"] & items["unseen"],
            "unseen user, unseen item": users["unseen"] & items["unseen"],
        }
    return {**subsets, "all": np.ones(len(table), dtype=bool)}


def by_bins(table: pd.DataFrame, counts: pd.DataFrame, edges: Sequence[float]) -> dict[str, np.ndarray]:
    """Masks, ``(rows,)``, of rows by the number of training rows of their user, then of their item.

    Args:
        table: Predictions.
        counts: The result of ``RunFolder.train_counts``.
        edges: Increasing; each bin includes its lower edge and excludes its upper one.

    Raises:
        SettingError: There are fewer than two edges, or they do not increase.
    """
    if len(edges) < 2 or any(not low < high for low, high in pairwise(edges)):
        raise SettingError(f"bins must be two or more increasing numbers, such as 0,1,5,20,inf, got {list(edges)}")
    return {
        f"{kind} with {_range(low, high)}": (trained >= low) & (trained < high)
        for kind, trained in ((kind, training_rows_of(table, counts, kind)) for kind in ("user", "item"))
        for low, high in pairwise(edges)
    }


def compare_subsets(
    tables: Mapping[str, pd.DataFrame],
    subsets: Mapping[str, np.ndarray],
    *,
    baseline: str | None = None,
    samples: int = 1000,
    seed: int = 2020,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Metrics of each subset and run.

    Args:
        tables: Predictions of the same rows, by the run's name.
        subsets: Masks of these rows, by the subset's name.
        baseline: The run that AUC is compared with; default: the first one.
        samples: Bootstrap draws.
        seed: Seed of the draws.
        confidence: Confidence level of the intervals.

    Returns:
        One line per subset and run: ``subset``, ``run``, ``rows``, ``users``, ``items``, ``positive_rate``,
        ``auc`` and ``logloss``, each with ``_low`` and ``_high`` of its interval, ``relative_auc`` with those of
        the paired interval, and ``note``: why there is no AUC, or empty.

    Raises:
        SettingError: The baseline is not one of the runs.
        DataError: The rows of two runs differ.
    """
    check_same_rows(tables)
    baseline = next(iter(tables)) if baseline is None else baseline
    check_baseline(baseline, tables)
    lines: list[dict[str, Any]] = []
    for subset, mask in subsets.items():
        parts = {name: table[mask] for name, table in tables.items()}
        label, scores = parts[baseline]["label"], [part["score"] for part in parts.values()]
        base = auc(label, parts[baseline]["score"])
        draws = bootstrap(label, scores, samples=samples if mask.any() else 0, seed=seed)
        for number, (name, part) in enumerate(parts.items()):
            line = {"subset": subset, "run": name, **_measure(part)}
            for metric, values in draws._asdict().items():
                line |= interval_of(metric, values[:, number], confidence=confidence)
            if name != baseline:
                line["relative_auc"] = relative_auc(line["auc"], base)
                ratios = _ratio(draws.auc[:, number], draws.auc[:, list(parts).index(baseline)])
                line |= interval_of("relative_auc", ratios, confidence=confidence)
            lines.append(line)
    columns = [
        "subset", "run", "rows", "users", "items", "positive_rate", "auc", "auc_low", "auc_high", "logloss",
        "logloss_low", "logloss_high", "relative_auc", "relative_auc_low", "relative_auc_high", "note",
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def _measure(part: pd.DataFrame) -> dict[str, Any]:
    label, score = part["label"].to_numpy(), part["score"].to_numpy()
    positive = int(label.sum())
    one_class = f"all {len(part)} rows are {'positive' if positive else 'negative'}" if len(part) else "no rows"
    return {
        "rows": len(part),
        "users": part["user"].nunique(),
        "items": part["item"].nunique(),
        "positive_rate": float(label.mean()) if len(part) else float("nan"),
        "auc": auc(label, score),
        "logloss": log_loss(label, score),
        "note": "" if 0 < positive < len(part) else one_class,
    }


def _ratio(auc: np.ndarray, base: np.ndarray) -> np.ndarray:
    return np.divide(auc, base, out=np.full_like(auc, np.nan), where=base > 0) - 1


def _counts_by_token(counts: pd.DataFrame, kind: str) -> pd.Series:
    trained = counts[counts["kind"] == kind].set_index("token")["rows"].astype("int64")
    if trained.empty:
        raise DataError(f"the run's counts of training rows contain no {kind}")
    return trained


def _range(low: float, high: float) -> str:
    if np.isinf(high):
        return f"{low:g} or more training rows"
    if high - low > 1:
        return f"{low:g} to {high - 1:g} training rows"
    return f"{low:g} training row{'s' * (low != 1)}"

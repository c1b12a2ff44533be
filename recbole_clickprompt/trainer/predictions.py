"""Scores and logits of all rows of a part of the data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from recbole_clickprompt.trainer.stage import autocast

__all__ = ["predict_split", "row_keys", "training_rows"]


@torch.no_grad()
def predict_split(
    model: Any, data: Any, *, split: str, device: torch.device, enable_amp: bool, show_progress: bool
) -> pd.DataFrame:
    """The predictions of one part, computed as the evaluation computes them.

    Args:
        model: A ``CTRModel``.
        data: RecBole's loader of the part; its rows come in the data set's order, whatever rows the loader of
            this process is asked for.
        split: The name of the part.

    Returns:
        The columns of ``RunFolder.predictions``.
    """
    dataset, size = data._dataset, data.config["eval_batch_size"]
    model.eval()
    scores, logits = [], []
    starts = range(0, len(dataset), size)
    for start in tqdm(starts, desc=f"predictions {split}", disable=not show_progress, dynamic_ncols=True):
        rows = data.transform(dataset, dataset[start : start + size]).to(device)
        with autocast(device, enable_amp):
            parts = model.predict_logits(rows)
            scores.append(model.score(parts).double().cpu().numpy())
        logits.append({name: values.float().cpu().numpy() for name, values in parts.items()})
    found = {name: np.concatenate([part[name] for part in logits]) for name in logits[0]}
    constants = {name: np.float32(value) for name, value in model.prediction_constants().items()}
    return row_keys(dataset).assign(split=split, score=np.concatenate(scores), **found, **constants)


def row_keys(dataset: Any) -> pd.DataFrame:
    """What the rows of a part are: ``user``, ``item`` (tokens of the data files), ``label``, ``time``."""
    return pd.DataFrame(
        {
            "user": _tokens(dataset, dataset.uid_field),
            "item": _tokens(dataset, dataset.iid_field),
            "label": (dataset.inter_feat[dataset.label_field] > 0).numpy().astype(np.int8),
            "time": _times(dataset),
        }
    )


def training_rows(dataset: Any) -> dict[str, pd.Series]:
    """How many rows each user and each item of a part has, by token."""
    fields = {"user": dataset.uid_field, "item": dataset.iid_field}
    return {
        kind: pd.Series(_tokens(dataset, field)).value_counts(sort=False)
        for kind, field in fields.items()
        if field in dataset.inter_feat
    }


def _tokens(dataset: Any, field: str | None) -> Any:
    if field not in dataset.inter_feat:
        return None
    return np.asarray(dataset.field2id_token[field], dtype=object)[dataset.inter_feat[field].numpy()]


def _times(dataset: Any) -> Any:
    if dataset.times is None:
        return pd.NA
    return pd.Series(dataset.times.numpy()).round().astype("Int64")

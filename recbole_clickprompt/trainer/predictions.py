"""Scores and logits of all rows of a part of the data set, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from recbole_clickprompt.trainer.own_rows import OwnRows
from recbole_clickprompt.trainer.stage import autocast

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset

    from recbole_clickprompt.trainer.protocols import CTRModel

__all__ = ["gather_predictions", "predict_split", "row_keys", "training_rows"]


@torch.no_grad()
def predict_split(
    model: CTRModel,
    data: AbstractDataLoader,
    *,
    split: str,
    device: torch.device,
    enable_amp: bool,
    show_progress: bool,
) -> pd.DataFrame:
    """The predictions for the rows that this process has of one part, computed as in evaluation.

    Args:
        model: The finetuned model.
        data: RecBole's loader of the part. All rows are predicted in the order of the data set, regardless of the
            loader's sampling.
        split: The name of the part.
        device: Device of the model.
        enable_amp: Whether to compute in bf16.
        show_progress: Whether to show a progress bar.

    Returns:
        The columns of ``RunFolder.predictions``.
    """
    dataset, own = data._dataset, OwnRows(data._dataset, data.config["eval_batch_size"])
    model.eval()
    scores, logits = [], []
    numbers = range(len(own))
    for number in tqdm(numbers, desc=f"predictions {split}", disable=not show_progress, dynamic_ncols=True):
        rows = data.transform(dataset, own.read(number)).to(device)
        count = own.counts(number)[dataset.row_group.rank]
        with autocast(device, enable_amp):
            parts = model.predict_logits(rows)
            scores.append(model.score(parts).double().cpu().numpy()[:count])
        logits.append({name: values.float().cpu().numpy()[:count] for name, values in parts.items()})
    found = {name: np.concatenate([part[name] for part in logits]) for name in logits[0]}
    constants = {name: np.float32(value) for name, value in model.prediction_constants().items()}
    return row_keys(dataset).assign(split=split, score=np.concatenate(scores), **found, **constants)


def gather_predictions(table: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """The predictions of all processes in the first one, in the order of a single process.

    Args:
        table: The result of ``predict_split``.
        dataset: The part that it is about.
    """
    if not dataset.shares_rows:
        return table
    shares = dataset.row_group.gather_to_main((table, dataset.order.numpy()))
    if not shares:
        return table
    keys = np.concatenate([order for _, order in shares])
    return pd.concat([part for part, _ in shares]).iloc[np.lexsort(keys.T[::-1])].reset_index(drop=True)


def row_keys(dataset: Dataset) -> pd.DataFrame:
    """The columns ``user`` and ``item`` (tokens of the data files), ``label`` and ``time`` of a part's rows."""
    return pd.DataFrame(
        {
            "user": _tokens(dataset, dataset.uid_field),
            "item": _tokens(dataset, dataset.iid_field),
            "label": (dataset.inter_feat[dataset.label_field] > 0).numpy().astype(np.int8),
            "time": _times(dataset),
        }
    )


def training_rows(dataset: Dataset) -> dict[str, pd.Series]:
    """The number of rows of each user and each item in a part, of all processes, by token."""
    fields = {"user": dataset.uid_field, "item": dataset.iid_field}
    own = {
        kind: pd.Series(_tokens(dataset, field)).value_counts(sort=False)
        for kind, field in fields.items()
        if field in dataset.inter_feat
    }
    if not dataset.shares_rows:
        return own
    shares = dataset.row_group.all_gather(own)
    return {kind: pd.concat([share[kind] for share in shares]).groupby(level=0, sort=False).sum() for kind in own}


def _tokens(dataset: Dataset, field: str | None) -> np.ndarray | None:
    if field not in dataset.inter_feat:
        return None
    return np.asarray(dataset.field2id_token[field], dtype=object)[dataset.inter_feat[field].numpy()]


def _times(dataset: Dataset) -> Any:
    if dataset.times is None:
        return pd.NA
    return pd.Series(dataset.times.numpy()).round().astype("Int64")

"""A trained model that scores raw rows with PyTorch or ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.columns import check_columns, to_table, with_field_names
from recbole_clickprompt.serving.rows import INPUT_IDS, TEXT_LENGTH, Counts, RowEncoder
from recbole_clickprompt.trainer.stage import autocast

__all__ = ["OnnxScores", "ServedModel", "TorchScores"]

Columns = Mapping[str, np.ndarray]
# Rows that are encoded and scored at once
_BATCH = 4096


class ServedModel:
    """A model that scores raw rows.

    Args:
        preprocessing: How raw rows become the model's inputs.
        scores: Maps encoded columns to scores, ``(B,)``.
    """

    def __init__(self, preprocessing: Preprocessing, scores: Callable[[Columns], np.ndarray]) -> None:
        self.preprocessing = preprocessing
        self._encode, self._scores = RowEncoder(preprocessing), scores

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """The probability of a click for each row; values that were not used unchanged are reported by a warning.

        Args:
            rows: A pandas, polars or Arrow table. Columns are named as the fields of the atomic files, or as in
                the table that `recbole-cp from-table` made them of, with values as there: user, item and the
                fields of the row itself. Features of users and items are only read for those that training never
                saw; label and time are not read.

        Returns:
            ``(rows,)`` float64.

        Raises:
            DataError: A column is missing, unknown or has the wrong type, or there are no rows.
        """
        table = to_table(rows)
        fields = check_columns(self.preprocessing, table.column_names, source="the table")
        if not len(table):
            raise DataError("the table has no rows")
        counts = Counts()
        scores = self.score(with_field_names(table, fields), counts)
        for change in counts.changes():
            getLogger().warning(change)
        return scores

    def score(self, table: pa.Table, counts: Counts) -> np.ndarray:
        """As ``predict``, for columns that have been checked.

        Args:
            table: Raw rows.
            counts: Updated with these rows.

        Raises:
            DataError: A value has the wrong type, or a score is not finite.
        """
        parts = []
        for start in range(0, len(table), _BATCH):
            first = counts.rows + 1
            scores = self._scores(self._encode(table.slice(start, _BATCH), counts))
            if len(bad := np.flatnonzero(~np.isfinite(scores))):
                raise DataError(
                    f"the score of row {first + bad[0]:,} is not a finite number; its features are too large "
                    "for the model, or the model was not trained successfully"
                )
            parts.append(scores)
        return np.concatenate(parts).astype(np.float64)


class TorchScores:
    """Scores of the trained model in PyTorch.

    Args:
        model: A ``trainer.protocols.CTRModel``.
        device: Device of the model.
        enable_amp: Compute in bf16, as in training.
    """

    def __init__(self, model: AbstractRecommender, device: torch.device, enable_amp: bool) -> None:
        self.model, self.device, self.enable_amp = model.eval(), device, enable_amp

    @torch.no_grad()
    def __call__(self, columns: Columns) -> np.ndarray:
        """``(B,)`` float32."""
        batch = Interaction({name: torch.from_numpy(values) for name, values in columns.items()})
        with autocast(self.device, self.enable_amp):
            return self.model.predict(batch.to(self.device)).float().cpu().numpy()


class OnnxScores:
    """Scores of an exported model in ONNX Runtime.

    Args:
        file: A ``.onnx`` file.
        batch: Maximum number of rows at once if text is read; rows are grouped by length.
    """

    def __init__(self, file: Path, batch: int = 64) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise SettingError(
                "this needs the package onnxruntime: pip install 'recbole-clickprompt[export]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # hides warnings of its graph optimizer
        try:
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its error classes are not public
            raise DataError(f"{file} is not an ONNX model: {' '.join(str(error).split())[:160]}") from error
        self.file, self.batch = file, batch

    def __call__(self, columns: Columns) -> np.ndarray:
        """``(B,)`` float32."""
        if TEXT_LENGTH not in columns:
            return self._run(columns)
        lengths = columns[TEXT_LENGTH]
        order = lengths.argsort(kind="stable")
        scores = np.empty(len(order), dtype=np.float32)
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            part = {name: values[rows] for name, values in columns.items()}
            scores[rows] = self._run({**part, INPUT_IDS: part[INPUT_IDS][:, : lengths[rows].max()]})
        return scores

    def _run(self, columns: Columns) -> np.ndarray:
        needed = [entry.name for entry in self.session.get_inputs()]
        if lacking := [name for name in needed if name not in columns]:
            raise DataError(
                f"{self.file} reads {lacking[0]!r}, which its preprocessing does not give; export again"
            )
        try:
            outputs = self.session.run(None, {name: columns[name] for name in needed})
        except Exception as error:  # see above
            raise DataError(f"{self.file} cannot score: {' '.join(str(error).split())[:160]}") from error
        rows = len(next(iter(columns.values())))
        if not outputs or not isinstance(outputs[0], np.ndarray) or outputs[0].shape != (rows,):
            raise DataError(f"{self.file} does not give one score per row; export again")
        return outputs[0]

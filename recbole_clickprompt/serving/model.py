"""A trained model that scores raw rows, by PyTorch or by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from recbole.data.interaction import Interaction

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.columns import check_columns, to_table
from recbole_clickprompt.serving.rows import INPUT_IDS, TEXT_LENGTH, Counts, RowEncoder
from recbole_clickprompt.trainer.stage import autocast

__all__ = ["OnnxScores", "ServedModel", "TorchScores"]

Columns = Mapping[str, np.ndarray]
# Rows that are encoded and go through a backbone at once
_BATCH = 4096


class ServedModel:
    """Scores of raw rows.

    Args:
        preprocessing: Of the model's training.
        scores: Encoded columns to scores, ``(B,)``.
    """

    def __init__(self, preprocessing: Preprocessing, scores: Callable[[Columns], np.ndarray]) -> None:
        self.preprocessing = preprocessing
        self._encode, self._scores = RowEncoder(preprocessing), scores

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """The probability of a click for each row; a warning says which values were not read as they stand.

        Args:
            rows: Columns named as the fields of the atomic files, with the values that stand there: user, item
                and what is known of each row alone. Columns of a user or an item are read where training never
                saw it; label and time are not read. pandas, polars or Arrow.

        Returns:
            ``(rows,)`` float64.

        Raises:
            DataError: A column is missing, unknown or of a wrong type, or there are no rows.
        """
        table = to_table(rows)
        check_columns(self.preprocessing, table.column_names, source="the table")
        if not len(table):
            raise DataError("the table has no rows; give it one or more")
        counts = Counts()
        scores = self.score(table, counts)
        for change in counts.changes():
            getLogger().warning(change)
        return scores

    def score(self, table: pa.Table, counts: Counts) -> np.ndarray:
        """As ``predict``, of columns that are checked already.

        Args:
            table: Raw rows.
            counts: Counted on.

        Raises:
            DataError: A value is of a wrong type, or a score is not finite.
        """
        parts = []
        for start in range(0, len(table), _BATCH):
            first = counts.rows + 1
            scores = self._scores(self._encode(table.slice(start, _BATCH), counts))
            if len(bad := np.flatnonzero(~np.isfinite(scores))):
                raise DataError(
                    f"the score of row {first + bad[0]:,} is not a number; its numbers are too large for the "
                    "model, or the model was not trained successfully"
                )
            parts.append(scores)
        return np.concatenate(parts).astype(np.float64)


class TorchScores:
    """Scores by the trained model itself, in bf16 where it was trained so.

    Args:
        model: A ``trainer.protocols.CTRModel``.
        device: Where it is.
        enable_amp: As in its config.
    """

    def __init__(self, model: Any, device: torch.device, enable_amp: bool) -> None:
        self.model, self.device, self.enable_amp = model.eval(), device, enable_amp

    @torch.no_grad()
    def __call__(self, columns: Columns) -> np.ndarray:
        """``(B,)`` float32."""
        batch = Interaction({name: torch.from_numpy(values) for name, values in columns.items()})
        with autocast(self.device, self.enable_amp):
            return self.model.predict(batch.to(self.device)).float().cpu().numpy()


class OnnxScores:
    """Scores by an exported model.

    Args:
        file: A ``.onnx`` file.
        batch: Most rows at once where text is read; rows of similar length go together.
    """

    def __init__(self, file: Path, batch: int = 64) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise SettingError(
                "this needs the package onnxruntime: pip install 'recbole-clickprompt[export]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings of its optimiser say nothing to the user
        try:
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has classes of its own for every fault, none of them public
            raise DataError(f"{file} is no ONNX model: {' '.join(str(error).split())[:160]}") from error
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

"""Scores of encoded rows, with PyTorch or ONNX Runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.text import INPUT_IDS, TEXT_LENGTH
from recbole_clickprompt.serving.text_states import TextStates
from recbole_clickprompt.serving.text_vectors import TextVectors
from recbole_clickprompt.serving.vector_cache import CacheOptions, VectorCache
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import Batch
from recbole_clickprompt.trainer.stage import autocast
from recbole_clickprompt.trainer.text_vectors import EncodesTexts

__all__ = ["STATES", "OnnxScores", "OnnxSession", "TorchScores", "torch_scores"]

STATES = "states"  # input of an exported model with frozen layers
Columns = Mapping[str, np.ndarray]


class TorchScores:
    """Scores of the trained model in PyTorch.

    Args:
        model: A ``trainer.protocols.CTRModel``.
        device: Device of the model.
        enable_amp: Compute in bf16, as in training.
        states: States of the texts of a model with frozen layers.
        vectors: Vectors of the texts of a model that encodes them one by one.
    """

    def __init__(
        self,
        model: AbstractRecommender,
        device: torch.device,
        enable_amp: bool,
        states: TextStates | None = None,
        vectors: TextVectors | None = None,
    ) -> None:
        self.model, self.device, self.enable_amp, self.states = model.eval(), device, enable_amp, states
        self.vectors = vectors

    @torch.no_grad()
    def __call__(self, columns: Columns) -> np.ndarray:
        """``(B,)`` float32."""
        if self.vectors is None:
            return self._scores(columns)
        scores = np.empty(len(next(iter(columns.values()))), dtype=np.float32)
        for rows, part in self.vectors.parts(columns):
            scores[rows] = self._scores(part)
        return scores

    def _scores(self, columns: Columns) -> np.ndarray:
        with autocast(self.device, self.enable_amp):
            if self.states is None:
                return self._predict(self.model, columns)
            scores = np.empty(len(next(iter(columns.values()))), dtype=np.float32)
            for rows, table, part in self.states.parts(columns):
                model = self.model if table is self.states.table else _reading(self.model, table)
                scores[rows] = self._predict(model, part)
            return scores

    def _predict(self, model: AbstractRecommender, columns: Columns) -> np.ndarray:
        batch = Interaction({name: torch.from_numpy(values) for name, values in columns.items()})
        return model.predict(batch.to(self.device)).float().cpu().numpy()


def torch_scores(
    model: AbstractRecommender,
    preprocessing: Preprocessing,
    device: torch.device,
    *,
    enable_amp: bool,
    cache: CacheOptions = CacheOptions(),  # noqa: B008 - frozen
) -> TorchScores:
    """Scores of a model, which encodes unseen texts with its frozen layers, or one by one, if it has a way.

    Raises:
        SettingError: The model encodes no texts one by one, and ``cache`` has options for that; or see
            ``VectorCache``.
    """
    states, text = None, preprocessing.text
    if text is not None and model.plm.num_frozen_layers:
        states = TextStates(model.text, text, model.plm.encode_lower)
    encodes = isinstance(model, EncodesTexts) and preprocessing.descriptions is not None
    if cache.given and not encodes:
        raise SettingError(
            f"{type(model).__name__} encodes no texts of users or items one by one, so that there is nothing to "
            f"cache; leave out {', '.join(cache.given)}"
        )
    vectors = TextVectors(VectorCache(model, cache)) if encodes else None
    return TorchScores(model, device, enable_amp, states, vectors)


class _Texts(nn.Module):
    """A table of few texts, for which models build no inference cache."""

    def __init__(self, table: StateTable) -> None:
        super().__init__()
        self.table = table

    def lengths(self, batch: Batch) -> Tensor:
        """Tokens of each row, ``(B,)`` int64."""
        return self.table.lengths(batch)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As for ``StateTable``."""
        return self.table(batch)


def _reading(model: AbstractRecommender, table: StateTable) -> AbstractRecommender:
    """The same model, with the same weights, reading other texts."""
    other = copy.copy(model)
    other._modules = {**model._modules, "text": _Texts(table)}
    return other.eval()  # and without the model's inference cache


class OnnxSession:
    """A function of arrays in ONNX Runtime, on the CPU.

    Args:
        file: A ``.onnx`` file.

    Attributes:
        inputs: Names of its arguments.

    Raises:
        SettingError: onnxruntime is missing.
        DataError: It is not an ONNX model.
    """

    def __init__(self, file: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise SettingError(
                "this needs the package onnxruntime: pip install 'recbole-clickprompt[export]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # hides warnings of its graph optimizer
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its error classes are not public
            raise DataError(f"{file} is not an ONNX model: {' '.join(str(error).split())[:160]}") from error
        self.file, self.inputs = file, [entry.name for entry in self._session.get_inputs()]

    def __call__(self, columns: Columns) -> np.ndarray:
        """The first output, with one element per row."""
        if lacking := [name for name in self.inputs if name not in columns]:
            raise DataError(
                f"{self.file} reads {lacking[0]!r}, which its preprocessing does not give; export again"
            )
        try:
            outputs = self._session.run(None, {name: columns[name] for name in self.inputs})
        except Exception as error:  # see above
            raise DataError(f"{self.file} cannot score: {' '.join(str(error).split())[:160]}") from error
        rows = len(next(iter(columns.values())))
        if not outputs or not isinstance(outputs[0], np.ndarray) or outputs[0].shape[:1] != (rows,):
            raise DataError(f"{self.file} does not give one score per row; export again")
        return outputs[0]


class OnnxScores:
    """Scores of an exported model in ONNX Runtime.

    Args:
        file: A ``.onnx`` file.
        states: States of the texts of a model with frozen layers.
        batch: Maximum number of rows at once if text is read; rows are grouped by length.
    """

    def __init__(self, file: Path, states: TextStates | None = None, batch: int = 64) -> None:
        self.session, self.states, self.batch = OnnxSession(file), states, batch

    def __call__(self, columns: Columns) -> np.ndarray:
        """``(B,)`` float32."""
        if self.states is not None:
            scores = np.empty(len(next(iter(columns.values()))), dtype=np.float32)
            for rows, table, part in self.states.parts(columns):
                scores[rows] = self._with_states(table, part)
            return scores
        if TEXT_LENGTH not in columns:
            return self._checked(columns)

        def block(rows: np.ndarray) -> Columns:
            part = {name: values[rows] for name, values in columns.items()}
            return {**part, INPUT_IDS: part[INPUT_IDS][:, : part[TEXT_LENGTH].max()]}

        return self._in_blocks(columns[TEXT_LENGTH], block)

    def _with_states(self, table: StateTable, columns: Columns) -> np.ndarray:
        ids = {key: torch.from_numpy(columns[key]) for key in table.keys}

        def block(rows: np.ndarray) -> Columns:
            states, lengths = table({key: values[rows] for key, values in ids.items()})
            part = {name: values[rows] for name, values in columns.items()}
            return {**part, STATES: states.float().numpy(), TEXT_LENGTH: lengths.numpy()}

        return self._in_blocks(table.lengths(ids).numpy(), block)

    def _in_blocks(self, lengths: np.ndarray, block: Callable[[np.ndarray], Columns]) -> np.ndarray:
        """Scores of rows whose texts have these lengths, ``(B,)``; ``block`` returns the columns of some rows."""
        order = lengths.argsort(kind="stable")
        scores = np.empty(len(order), dtype=np.float32)
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            scores[rows] = self._checked(block(rows))
        return scores

    def _checked(self, columns: Columns) -> np.ndarray:
        scores = self.session(columns)
        if scores.ndim != 1:
            raise DataError(f"{self.session.file} does not give one score per row; export again")
        return scores
